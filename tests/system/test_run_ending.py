"""How ``treeguard run`` ends a tree: all of it is asked, has time, and is killed after that."""

from __future__ import annotations

import shlex
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest

from treeguard.types import Mechanism

from ..support.patience import PATIENCE
from .test_run import RUN, Start, eventually, line_of, run, start

__all__ = ["start"]

#: Notes what it hears in a file; ends a moment after SIGTERM or SIGQUIT, once it has saved its work, and else stays.
SERVER = """
import os, signal, sys, time
name, stays = sys.argv[1], "stays" in sys.argv
def note(what):
    with open(name, "a") as file:
        file.write(what + "\\n")
def hear(number, frame):
    note(signal.Signals(number).name)
    if number in (signal.SIGTERM, signal.SIGQUIT) and not stays:
        time.sleep(0.2)
        note("saved")
        os._exit(0)
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCONT, signal.SIGQUIT):
    signal.signal(number, hear)
if "escapes" in sys.argv:
    os.setsid()
note("up")
while True:
    time.sleep(0.01)
"""


@pytest.fixture
def server(tmp_path: Path) -> str:
    """A command line for a shell; arguments may follow."""
    (tmp_path / "server.py").write_text(SERVER)
    return f"{sys.executable} -S -E {tmp_path}/server.py {tmp_path}/notes"


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """What the server has written."""
    return tmp_path / "notes"


def read(notes: Path) -> list[str]:
    return notes.read_text().split() if notes.exists() else []


def until_up(notes: Path) -> None:
    eventually(lambda: read(notes) == ["up"], "the server is up")


WRAPPERS = {
    "root": "exec {}",
    "shell": "{} & wait",
    "pipe": "{} | cat",
    "xargs": "echo x | xargs -n 1 {}",
    "left the group": "{} escapes & wait",
    "subshells": "( ( {} ) & wait ) & wait",
}


@pytest.mark.parametrize("wrapper", WRAPPERS.values(), ids=list(WRAPPERS))
@pytest.mark.parametrize("how", ["SIGTERM", "timeout"])
def test_whatever_the_root_is_the_tree_has_the_grace(
    start: Start, containing: Mechanism, server: str, notes: Path, wrapper: str, how: str
) -> None:
    """A server saves its work, although the shell beside it is gone at once. It is asked once."""
    timeout = ["--timeout", "2"] if how == "timeout" else []
    process = start("--containment", containing, *timeout, "--", "sh", "-c", wrapper.format(server))
    until_up(notes)
    if how == "SIGTERM":
        process.terminate()
    status = process.wait(PATIENCE)
    assert read(notes) == ["up", "SIGTERM", "saved"]
    assert (status == 124) == (how == "timeout")


@pytest.mark.parametrize("name", ["TERM", "HUP"])
def test_the_grace_bounds_what_the_root_leaves(start: Start, server: str, notes: Path, name: str) -> None:
    """A server that stays is killed when the grace is over, and not before."""
    process = start("--grace", "0.3", "--linger", "0", "sh", "-c", f"{server} stays & wait")
    until_up(notes)
    sent = time.monotonic()
    process.send_signal(signal.Signals[f"SIG{name}"])
    assert process.wait(PATIENCE) == -signal.Signals[f"SIG{name}"]
    assert time.monotonic() - sent >= 0.3


def test_a_shells_background_commands_are_asked_after_an_interrupt(start: Start) -> None:
    """They ignore SIGINT, so they are asked by SIGTERM when the shell is gone."""
    process = start("--grace", "60", "sh", "-c", "sleep 1000 & echo up; wait")
    assert line_of(process) == "up"
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == -signal.SIGINT


@pytest.mark.parametrize("name", ["HUP", "INT", "TERM"])
@pytest.mark.parametrize("escapes", ["", "escapes"])
def test_a_running_tree_gets_no_other_signal(
    start: Start, containing: Mechanism, server: str, notes: Path, name: str, escapes: str
) -> None:
    """It sees no SIGCONT. What has left the group is asked by SIGTERM whatever came."""
    process = start("--containment", containing, "sh", "-c", f"exec {server} {'stays' if name != 'TERM' else ''}")
    until_up(notes)
    process.send_signal(signal.Signals[f"SIG{name}"])
    eventually(lambda: len(read(notes)) > 1, "it has heard")
    if name == "TERM":
        process.wait(PATIENCE)
    else:
        # One more, to see that nothing came in between.
        process.send_signal(signal.SIGQUIT)
        eventually(lambda: "SIGQUIT" in read(notes), "it has heard again")
    assert "SIGCONT" not in read(notes)
    assert read(notes)[1] == f"SIG{name}"


@pytest.mark.parametrize("name", ["TERM", "INT"])
def test_a_second_request_ends_it_now(start: Start, server: str, notes: Path, name: str) -> None:
    """During the grace nobody waits for it any more."""
    process = start("--grace", "1000", "sh", "-c", f"exec {server} stays")
    until_up(notes)
    process.send_signal(signal.Signals[f"SIG{name}"])
    eventually(lambda: len(read(notes)) > 1, "it has heard")
    process.send_signal(signal.Signals[f"SIG{name}"])
    assert process.wait(PATIENCE) == -signal.SIGKILL


def test_a_request_after_the_timeout_ends_it_now(start: Start, server: str, notes: Path) -> None:
    """The timeout was the first request."""
    process = start("--timeout", "2", "--grace", "1000", "sh", "-c", f"exec {server} stays")
    eventually(lambda: read(notes) == ["up", "SIGTERM"], "it has heard")
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 124


def test_another_request_does_not(start: Start, server: str, notes: Path) -> None:
    """A supervisor may go from SIGHUP to SIGINT to SIGTERM."""
    process = start("--grace", "1000", "sh", "-c", f"exec {server} stays")
    until_up(notes)
    for name in ("HUP", "INT", "TERM"):
        process.send_signal(signal.Signals[f"SIG{name}"])
        eventually(lambda name=name: f"SIG{name}" in read(notes), "it has heard")  # type: ignore[misc]
    assert read(notes) == ["up", "SIGHUP", "SIGINT", "SIGTERM"]
    process.terminate()
    assert process.wait(PATIENCE) == -signal.SIGKILL


@pytest.mark.skipif(shutil.which("timeout") is None, reason="there is no timeout(1)")
def test_the_echo_of_timeout_is_no_second_request(start: Start, server: str, notes: Path) -> None:
    """GNU timeout signals its child and then its group: the server has the time to save its work all the same."""
    process = start("--grace", "1000", "sh", "-c", f"{server} & wait", before=("timeout", "1000"))
    until_up(notes)
    # What it does when it is asked is what it does when the time is over.
    process.terminate()
    process.wait(PATIENCE)
    eventually(lambda: read(notes)[-1] == "saved", "it is saved")


@pytest.mark.parametrize("spelling", ["QUIT", "sigquit", str(int(signal.SIGQUIT))])
def test_another_signal_asks(start: Start, containing: Mechanism, server: str, notes: Path, spelling: str) -> None:
    """In the place of SIGTERM, also of those that have left the group."""
    process = start(
        "--containment",
        containing,
        "--signal",
        spelling,
        "sh",
        "-c",
        f"trap 'wait; exit 3' QUIT; {server} escapes & wait",
    )
    until_up(notes)
    process.terminate()
    assert process.wait(PATIENCE) == 3
    assert read(notes) == ["up", "SIGQUIT", "saved"]


@pytest.mark.parametrize("text", ["NOSUCH", "SIG_DFL", "0", "-1", "1000", ""])
def test_what_is_no_signal_is_refused(text: str) -> None:
    """Before anything is started."""
    done = run("--signal", text, "true")
    assert done.returncode in {2, 125}
    assert b"is neither the name nor the number of a signal" in done.stderr


def test_a_tree_within_is_asked_by_its_own_supervisor(
    start: Start, containing: Mechanism, server: str, notes: Path
) -> None:
    """A server that is run by another one of these hears one request, not one from each."""
    within = f"{shlex.join(RUN)} --grace 1000 {server} stays & wait"
    process = start("--grace", "1000", "--containment", containing, "sh", "-c", within)
    until_up(notes)
    process.terminate()
    eventually(lambda: "SIGTERM" in read(notes), "it has heard")
    # Another request takes the same ways, so whatever came of the first has arrived before it.
    process.send_signal(signal.SIGHUP)
    eventually(lambda: "SIGHUP" in read(notes), "it has heard again")
    assert read(notes) == ["up", "SIGTERM", "SIGHUP"]


# The end of the command itself.


@pytest.mark.parametrize("escapes", ["", "escapes"])
def test_what_a_command_leaves_is_asked(containing: Mechanism, server: str, notes: Path, escapes: str) -> None:
    """It saves its work in the time that it has."""
    leaving = f"{server} {escapes} & until [ -e {notes} ]; do sleep 0.02; done; exit 3"
    done = run("--containment", containing, "--linger", "10", "sh", "-c", leaving)
    assert done.returncode == 3
    assert read(notes) == ["up", "SIGTERM", "saved"]


def test_what_a_command_leaves_is_killed_after_its_time(server: str, notes: Path) -> None:
    """Whatever it does with the signal; the command's own status stays."""
    done = run("--linger", "0.1", "sh", "-c", f"{server} stays & until [ -e {notes} ]; do sleep 0.02; done; exit 3")
    assert done.returncode == 3
    assert read(notes) == ["up", "SIGTERM"]


def test_without_time_it_is_killed_at_once(server: str, notes: Path) -> None:
    """Nobody is asked."""
    done = run("--linger", "0", "sh", "-c", f"{server} & until [ -e {notes} ]; do sleep 0.02; done; exit 3")
    assert done.returncode == 3
    assert read(notes) == ["up"]


def test_a_request_meanwhile_ends_it_now(start: Start, server: str, notes: Path) -> None:
    """The command has ended, so its status is known."""
    process = start(
        "--linger", "1000", "sh", "-c", f"{server} stays & until [ -e {notes} ]; do sleep 0.02; done; exit 3"
    )
    eventually(lambda: read(notes) == ["up", "SIGTERM"], "it has heard")
    process.terminate()
    assert process.wait(PATIENCE) == 3


def test_the_timeout_bounds_what_is_left(server: str, notes: Path) -> None:
    """The command was in time."""
    leaving = f"{server} stays & until [ -e {notes} ]; do sleep 0.02; done; exit 3"
    assert run("--timeout", "3", "--linger", "1000", "sh", "-c", leaving).returncode == 3


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_a_process_substitution_reads_to_its_end(containing: Mechanism, tmp_path: Path) -> None:
    """A filter of the shell's own, that the shell does not wait for: nothing of the output is lost."""
    reader = "import sys, time; text = sys.stdin.read(); time.sleep(0.1); sys.stdout.write(text)"
    script = f'exec > >(tee {tmp_path}/copy | {sys.executable} -S -E -c "{reader}"); seq 20000; exit 3'
    done = run("--containment", containing, "bash", "-c", script)
    assert done.returncode == 3
    assert done.stdout.split()[-1] == b"20000"
    assert (tmp_path / "copy").read_bytes() == done.stdout


def test_a_filter_that_stays_is_asked_too(server: str, notes: Path) -> None:
    """Its input has no end. It is left alone for half of the time only."""
    script = f"pipe={notes}.pipe; mkfifo $pipe; exec 3<>$pipe; {server} stays <&3 & "
    script += f"until [ -e {notes} ]; do sleep 0.02; done; exit 3"
    assert run("--linger", "1", "sh", "-c", script).returncode == 3
    assert read(notes) == ["up", "SIGTERM"]
