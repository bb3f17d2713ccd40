"""``treeguard run`` tells how a tree ended: ``--report`` and ``--status-fd``."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..support.patience import PATIENCE
from .test_run import FOREVER, RUN, Start, eventually, line_of, run, start

__all__ = ["start"]


@pytest.fixture
def report(tmp_path: Path) -> Iterator[Path]:
    """Where a report goes. Nothing else is left beside it."""
    place = tmp_path / "report.json"
    yield place
    assert {each.name for each in tmp_path.iterdir()} <= {place.name}


def told(place: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(place.read_text())
    return found


def reported(place: Path, *arguments: str) -> dict[str, Any]:
    run("--report", str(place), *arguments)
    return told(place)


def test_a_command_that_ends_by_itself(report: Path) -> None:
    """Its command, exit, times, and the status."""
    use = "for n in range(3_000_000): pass"
    found = reported(report, sys.executable, "-S", "-c", f"{use}\nraise SystemExit(3)")
    assert found["command"][:2] == [sys.executable, "-S"]
    assert (found["ended"], found["killed"], found["left"], found["error"]) == ("itself", False, [], None)
    assert found["exit"] == {"code": 3, "signal": None, "core_dumped": False}
    assert found["status"] == 3
    assert found["pid"] > 0
    assert found["mechanism"] in {"cgroup", "subreaper", "process_group"}
    assert 0 < found["root"]["user_time"] + found["root"]["system_time"] <= found["wall_time"] * 1.1 < PATIENCE
    assert found["root"]["max_rss"] > 1 << 20
    assert found["tree"]["user_time"] > 0
    assert found["started"].endswith("+00:00")


def test_a_signal_and_a_core(report: Path, tmp_path: Path) -> None:
    """A death by signal; the core only where one was dumped."""
    found = reported(report, "sh", "-c", "kill -KILL $$")
    assert found["exit"] == {"code": None, "signal": signal.SIGKILL, "core_dumped": False}
    assert (found["ended"], found["status"]) == ("itself", 128 + signal.SIGKILL)
    found = reported(report, "sh", "-c", "ulimit -c 0; kill -ABRT $$")
    assert found["exit"] == {"code": None, "signal": signal.SIGABRT, "core_dumped": False}


def test_a_core(tmp_path: Path) -> None:
    """It is told where the system dumps one."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    pattern = Path("/proc/sys/kernel/core_pattern")
    if hard == 0 or not pattern.exists() or "/" in pattern.read_text() or pattern.read_text().startswith("|"):
        pytest.skip("no core in the command's directory")
    command = ["sh", "-c", f'ulimit -c {"unlimited" if hard < 0 else hard}; exec "$@"', "sh"]
    arguments = ["--cwd", str(tmp_path), "--report", "-", "sh", "-c", "kill -ABRT $$"]
    done = subprocess.run([*command, *RUN, *arguments], capture_output=True, timeout=PATIENCE, check=False)
    assert json.loads(done.stderr)["exit"] == {"code": None, "signal": signal.SIGABRT, "core_dumped": True}


@pytest.mark.parametrize("command", ["treeguard-no-such-program", "/"])
def test_a_command_that_is_not_started(report: Path, command: str) -> None:
    """Why not, and the status."""
    found = reported(report, command)
    assert (found["ended"], found["pid"], found["exit"]) == ("not_started", None, None)
    assert found["error"].startswith(f"{command}: ")
    assert found["status"] == (126 if command == "/" else 127)


def test_a_mechanism_that_is_not_there(report: Path) -> None:
    """Treeguard's own failures are told too."""
    found = reported(report, "--containment", "job_object", "true")
    assert (found["ended"], found["status"]) == ("not_started", 125)
    assert "job_object" in found["error"]


DEAF = "trap '' TERM INT HUP; echo up; while :; do sleep 0.05; done"


@pytest.mark.parametrize(
    ("script", "killed", "status"),
    [(f"echo up; exec sleep {FOREVER}", False, 128 + signal.SIGTERM), (DEAF, True, 128 + signal.SIGKILL)],
)
def test_asked(start: Start, report: Path, script: str, killed: bool, status: int) -> None:
    """A request, and whether it had to be killed."""
    process = start("--report", str(report), "--grace", "0.2", "sh", "-c", script)
    assert line_of(process) == "up"
    process.terminate()
    assert process.wait(PATIENCE) == 128 - status
    found = told(report)
    assert (found["ended"], found["killed"], found["status"]) == ("request", killed, status)


def test_timeout(report: Path) -> None:
    """It is another reason than a request."""
    found = reported(report, "--timeout", "0.2", "--grace", "0.2", "sh", "-c", DEAF)
    assert (found["ended"], found["killed"], found["status"]) == ("timeout", True, 124)


def test_what_was_left(report: Path) -> None:
    """Each process by number and name, and whether it held the output."""
    script = f"sleep {FOREVER} & (exec >/dev/null 2>&1; exec sleep {FOREVER}) & exit 0"
    found = reported(report, "--linger", "0.1", "sh", "-c", script)
    assert (found["ended"], found["status"]) == ("itself", 0)
    assert [each["name"] for each in found["left"]] == ["sleep"] * 2
    assert sorted(each["held_output"] for each in found["left"]) == [False, True]
    assert len({each["pid"] for each in found["left"]}) == 2


def test_what_cannot_be_killed(report: Path) -> None:
    """Is told, in the place of a tree that has ended."""
    blind = (
        "from treeguard._cli import main, supervision; from treeguard import LocalProcessManager as M\n"
        "async def deaf(*_, **__): pass\n"
        "M.kill_tree = deaf; supervision.KILLED_IN = 0.2\n"
        f"main(['run', '--grace', '0', '--timeout', '0.2', '--report', {str(report)!r}, 'sh', '-c', {DEAF!r}])"
    )
    done = subprocess.run(
        [sys.executable, "-c", blind], capture_output=True, timeout=PATIENCE, check=False, start_new_session=True
    )
    assert done.returncode == 125
    found = told(report)
    assert (found["ended"], found["status"]) == ("timeout", 125)
    assert "sh" in [each["name"] for each in found["left"]]
    assert "not gone" in found["error"]


def test_a_guard_that_was_killed(start: Start, report: Path) -> None:
    """Nobody knows how the command has ended."""
    process = start(
        "--containment", "subreaper", "--report", str(report), "sh", "-c", f"echo $PPID; exec sleep {FOREVER}"
    )
    os.kill(int(line_of(process)), signal.SIGKILL)
    assert process.wait(PATIENCE) == 125
    found = told(report)
    assert (found["ended"], found["killed"], found["exit"], found["status"]) == ("lost", True, None, 125)
    assert "guard" in found["error"]


# Where it goes


def test_standard_error(start: Start) -> None:
    """One line after all that the command has written there, and nothing on standard output."""
    done = run("--report", "-", "sh", "-c", "echo out; echo err >&2")
    assert done.stdout == b"out\n"
    first, second = done.stderr.splitlines()
    assert first == b"err"
    assert json.loads(second)["status"] == 0


def test_a_file_is_replaced_at_once(start: Start, report: Path) -> None:
    """Readers see the old one or the new one. Its mode stays; a new one has the usual."""
    report.write_text("old")
    report.chmod(0o640)
    before = report.open()
    process = start("--report", str(report), "cat")
    with before:
        eventually(report.exists, "it is gone")
        process.communicate(timeout=PATIENCE)
        assert before.read() == "old"
    assert told(report)["status"] == 0
    assert stat.S_IMODE(report.stat().st_mode) == 0o640
    report.unlink()
    reported(report, "true")
    os.umask(mask := os.umask(0o022))
    assert stat.S_IMODE(report.stat().st_mode) == 0o666 & ~mask


def test_a_link_is_followed(tmp_path: Path) -> None:
    """The file behind it is replaced, not the link."""
    (tmp_path / "link").symlink_to("there")
    assert reported(tmp_path / "link", "true")["status"] == 0
    assert (tmp_path / "link").is_symlink()
    assert told(tmp_path / "there")["status"] == 0


def test_what_the_command_writes_to_is_not_replaced(tmp_path: Path) -> None:
    """Its output stays, and the report follows it."""
    place = tmp_path / "out"
    for name in (str(place), "/dev/stdout"):
        with place.open("wb") as out:
            subprocess.run([*RUN, "--report", name, "echo", "hello"], stdout=out, timeout=PATIENCE, check=True)
        first, second = place.read_text().splitlines()
        assert first == "hello"
        assert json.loads(second)["status"] == 0


@pytest.mark.parametrize("name", ["out", "/dev/fd/9"])
def test_what_has_the_events_is_not_replaced(tmp_path: Path, name: str) -> None:
    """The events stay, and so does what the command writes to another descriptor."""
    script = 'exec 9>out; "$@" --status-fd 9 --report "$0" true'
    subprocess.run(["sh", "-c", script, name, *RUN], cwd=tmp_path, timeout=PATIENCE, check=True)
    lines = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
    assert [line.get("event") for line in lines] == ["started", None, "ended"]
    script = 'exec 8>out; "$@" --report "$0" sh -c "echo hello >&8"'
    subprocess.run(["sh", "-c", script, name.replace("9", "8"), *RUN], cwd=tmp_path, timeout=PATIENCE, check=True)
    first, second = (tmp_path / "out").read_text().splitlines()
    assert (first, json.loads(second)["status"]) == ("hello", 0)


def test_a_file_that_is_only_read_is_replaced(report: Path) -> None:
    """An inherited descriptor for reading is no reason to write into the file."""
    report.write_text("old")
    script = 'exec 8<"$0"; "$@" --report "$0" true'
    subprocess.run(["sh", "-c", script, str(report), *RUN], timeout=PATIENCE, check=True)
    assert told(report)["status"] == 0


@pytest.mark.parametrize("name", ["none/report", ".", "", "pipe"])
def test_what_cannot_be_written(tmp_path: Path, name: str) -> None:
    """Is refused before anything is started: also a pipe without a reader, which nobody knows when to wait for."""
    os.mkfifo(tmp_path / "pipe")
    done = run("--report", name, "touch", "started", cwd=tmp_path)
    assert done.returncode == 125
    assert done.stderr.decode().startswith(f"treeguard run: --report {name}: ")
    assert [each.name for each in tmp_path.iterdir()] == ["pipe"]


def test_a_directory_that_is_gone_at_the_end(tmp_path: Path) -> None:
    """Is told, and the command's status stays."""
    place = tmp_path / "there"
    place.mkdir()
    done = run("--report", str(place / "report"), "sh", "-c", f"rmdir {place}; exit 3")
    assert done.returncode == 3
    assert b"--report" in done.stderr


def test_nothing_is_told_unasked() -> None:
    """Neither on standard error nor in a file."""
    done = run("sh", "-c", "exit 3")
    assert (done.stdout, done.stderr) == (b"", b"")


# Events


def test_events(start: Start) -> None:
    """A line when it has started, and one at the end, which is the report. The command does not get the descriptor."""
    reader, writer = os.pipe()
    with os.fdopen(reader, encoding="ascii") as events:
        try:
            process = start(
                "--status-fd", str(writer), "sh", "-c", "ls /proc/$$/fd; read x; exit 3", pass_fds=(writer,)
            )
        finally:
            os.close(writer)
        started = json.loads(events.readline())
        assert started["event"] == "started"
        assert Path(f"/proc/{started['pid']}/comm").read_text() == "sh\n"
        out, _ = process.communicate(b"\n", timeout=PATIENCE)
        assert {int(fd) for fd in out.split()} <= {0, 1, 2}
        ended = json.loads(events.readline())
        assert (ended["event"], ended["pid"], ended["status"]) == ("ended", started["pid"], 3)
        assert events.readline() == ""


def test_events_of_a_command_that_is_not_started() -> None:
    """The end alone."""
    reader, writer = os.pipe()
    with os.fdopen(reader, encoding="ascii") as events:
        assert run("--status-fd", str(writer), "treeguard-no-such-program", pass_fds=(writer,)).returncode == 127
        os.close(writer)
        (ended,) = map(json.loads, events)
    assert (ended["event"], ended["ended"], ended["status"]) == ("ended", "not_started", 127)


def test_a_reader_of_events_that_has_gone(start: Start) -> None:
    """Changes nothing."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        assert run("--status-fd", str(writer), "sh", "-c", "exit 3", pass_fds=(writer,)).returncode == 3
    finally:
        os.close(writer)


def test_a_reader_of_events_that_does_not_read(start: Start) -> None:
    """Timeouts and signals have their effect all the same, and what was told is there for it later."""
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as events:
        os.set_blocking(writer, False)
        filled = 0
        for size in (4096, 1):
            with contextlib.suppress(BlockingIOError):
                while True:
                    filled += os.write(writer, b"x" * size)
        os.set_blocking(writer, True)
        script = "echo $$; exec sleep 60"
        process = start("--status-fd", str(writer), "--timeout", "0.2", "sh", "-c", script, pass_fds=(writer,))
        os.close(writer)
        root = int(line_of(process))
        eventually(lambda: not Path(f"/proc/{root}").exists(), "the timeout has ended it")
        assert events.read(filled) == b"x" * filled
        assert [json.loads(line)["event"] for line in events] == ["started", "ended"]
        assert process.wait(PATIENCE) == 124


@pytest.mark.parametrize("number", ["99", "4", "99999999999", "-1", "3"])
def test_descriptors_that_are_refused(number: str) -> None:
    """Those that are not open, not for writing, or no number."""
    done = subprocess.run(
        ["sh", "-c", 'exec 3</dev/null; "$@"', "sh", *RUN, "--status-fd", number, "echo", "started"],
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stdout) == (125, b"")
    assert b"--status-fd" in done.stderr
