"""``treeguard run`` as the first process of a PID namespace, as in a container, and as an adopter of orphans."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from ..support.jobs import eventually
from ..support.patience import PATIENCE

RUN = [sys.executable, "-m", "treeguard", "run"]
FOREVER = "1000.0625"
NAMESPACE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
#: With privileges, and without.
KINDS = {"root": NAMESPACE, "user": [*NAMESPACE, "--user", "--map-root-user"]}

Inside = tuple[subprocess.Popen[str], psutil.Process]
Enter = Callable[..., Inside]


def _works(kind: str) -> bool:
    return (
        shutil.which("unshare") is not None
        and not subprocess.run([*KINDS[kind], "true"], capture_output=True, check=False, timeout=PATIENCE).returncode
    )


@pytest.fixture(params=KINDS)
def enter(request: pytest.FixtureRequest) -> Iterator[Enter]:
    """Starts a command as the first process of a PID namespace, and gives what entered it and that process."""
    if not _works(request.param):
        pytest.skip("no PID namespace may be made here")
    with contextlib.ExitStack() as stack:

        def begin(*command: str, env: dict[str, str] | None = None) -> Inside:
            entered = subprocess.Popen(
                [*KINDS[request.param], *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
            )
            stack.enter_context(entered)
            stack.callback(entered.kill)
            eventually(lambda: bool(psutil.Process(entered.pid).children()), "nobody is in the namespace")
            return entered, psutil.Process(entered.pid).children()[0]

        yield begin


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().removesuffix("\n")


def enter_as_a_stranger(first: psutil.Process, script: str) -> None:
    """Runs a script in the namespace, as a child of nobody there, as ``docker exec`` does."""
    command = ["nsenter", "--target", str(first.pid), "--pid", "--mount"]
    if not Path("/proc/self/ns/user").samefile(f"/proc/{first.pid}/ns/user"):
        command += ["--user", "--preserve-credentials"]
    subprocess.run([*command, "sh", "-c", script], check=True, timeout=PATIENCE)


def strangers(first: psutil.Process, count: int) -> list[psutil.Process]:
    """So many processes that it did not start, and has adopted. They have ended soon."""
    enter_as_a_stranger(first, f"i=0; while [ $i -lt {count} ]; do sleep {FOREVER} & i=$((i + 1)); done")

    def adopted() -> list[psutil.Process]:
        return [child for child in first.children() if _is_a_sleeper(child)]

    eventually(lambda: len(adopted()) == count, "it has not adopted them")
    found = adopted()
    for each in found:
        each.kill()
    return found


def _is_a_sleeper(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return FOREVER in process.cmdline()
    return False


def _is_gone(process: psutil.Process) -> bool:
    """Whether it is not there, not even as a zombie."""
    return not (Path(f"/proc/{process.pid}").exists() and process.is_running())


def _is_a_zombie(process: psutil.Process) -> bool:
    return bool(process.status() == psutil.STATUS_ZOMBIE)


@pytest.mark.parametrize("mechanism", ["auto", "subreaper", "process_group"])
def test_strangers_are_reaped(enter: Enter, mechanism: str) -> None:
    """No zombie is left of them, and the wait for the command, whose status is known, is not taken away."""
    entered, first = enter(*RUN, "--containment", mechanism, "sh", "-c", "echo up; read _; exit 7")
    assert line_of(entered) == "up"
    for each in strangers(first, 30):
        eventually(partial(_is_gone, each), "a zombie is left")
    assert entered.stdin is not None
    entered.stdin.close()
    assert entered.wait(PATIENCE) == 7


def test_control_others_leave_them(enter: Enter) -> None:
    """Control: a first process that does not know of this duty has zombies."""
    entered, first = enter("sh", "-c", "echo up; read _")
    assert line_of(entered) == "up"
    for each in strangers(first, 3):
        eventually(partial(_is_a_zombie, each), "it has not ended")


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP"])
@pytest.mark.parametrize("inside", [False, True], ids=["outside", "inside"])
def test_it_can_be_asked_to_end(enter: Enter, name: str, inside: bool) -> None:
    """The kernel keeps signals that have no handler from it. It has handlers."""
    script = f"trap 'exit 9' {name}; echo up; while :; do sleep 0.05; done"
    entered, first = enter(*RUN, "sh", "-c", script)
    assert line_of(entered) == "up"
    if inside:
        enter_as_a_stranger(first, f"kill -{name} 1")
    else:
        first.send_signal(signal.Signals[f"SIG{name}"])
    assert entered.wait(PATIENCE) == 9


@pytest.mark.parametrize("name", ["TERM", "INT"])
@pytest.mark.parametrize("module", ["treeguard._cli.commands", "treeguard._core.native"])
def test_a_request_while_it_starts(enter: Enter, name: str, module: str, tmp_path: Path) -> None:
    """It is heard when there is somebody to hear it."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "class Asked:\n"
        "    def find_spec(self, name, *_):\n"
        f"        if name == {module!r} and os.getpid() == 1:\n"
        f"            os.kill(1, signal.SIG{name})\n"
        "sys.meta_path.insert(0, Asked())\n"
    )
    entered, _ = enter(*RUN, "sleep", FOREVER, env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert entered.wait(PATIENCE) == 128 + signal.Signals[f"SIG{name}"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGSEGV])
def test_a_command_that_dies_of_a_signal(enter: Enter, number: signal.Signals) -> None:
    """The first process of a namespace cannot die of it, so its status says it."""
    entered, _ = enter(*RUN, "sh", "-c", f"ulimit -c 0; kill -{int(number)} $$")
    assert entered.wait(PATIENCE) == 128 + number


def test_what_it_held_back_is_not_blocked_in_the_command(enter: Enter) -> None:
    """The command has the signals blocked that its stand-in was given, and no others."""
    entered, _ = enter(*RUN, "grep", "SigBlk", "/proc/self/status")
    assert line_of(entered).split() == ["SigBlk:", "0" * 16]


#: Becomes an adopter of orphans, adopts one, tells of it, and becomes what follows.
ADOPTER = """
import ctypes, os, subprocess, sys
assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0
os.write(1, subprocess.run(["sh", "-c", sys.argv[1]], stdout=subprocess.PIPE).stdout)
os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.mark.parametrize("before", ["adopter", "shell"])
def test_children_of_what_it_was_before(before: str) -> None:
    """It waits for the children that it has had before its exec, and for those that an adopter gets."""
    sleeper = f"sleep {FOREVER} >&2 & echo $!"
    prefix = {
        "adopter": [sys.executable, "-S", "-E", "-c", ADOPTER, sleeper],
        "shell": ["sh", "-c", f'{sleeper}; exec "$@"', "sh"],
    }[before]
    command = [*prefix, *RUN, "sh", "-c", "echo up; read _; exit 7"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        stranger = psutil.Process(int(line_of(process)))
        assert line_of(process) == "up"
        assert stranger.ppid() == process.pid
        stranger.kill()
        eventually(partial(_is_gone, stranger), "a zombie is left")
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(PATIENCE) == 7


def test_a_parent_that_cannot_be_seen(enter: Enter) -> None:
    """The parent of the first process is outside, where it cannot be watched: that is said, not passed over."""
    entered, _ = enter(*RUN, "--die-with-parent", "true")
    assert entered.wait(PATIENCE) == 125


def test_nothing_outlives_it(enter: Enter) -> None:
    """The kernel ends what is in the namespace with its first process. So it is not told that something would stay."""
    entered, _ = enter(*RUN, "--release", "true")
    assert entered.wait(PATIENCE) == 125
