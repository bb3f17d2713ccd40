"""What dumb-init promises: signals for the whole group, the command's end as its own, a terminal, nothing left."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from ..support.jobs import Session
from ..support.patience import PATIENCE, wait_until
from .conftest import Start

#: Prints the number of each signal of the classic ones that it gets, until its input ends.
#: It does not wait in one call: a signal that comes just before it would be told of only after it.
LISTEN = """
import os, select, signal
for number in set(range(1, 32)) - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
    signal.signal(number, lambda number, frame: os.write(1, b"%d\\n" % number))
os.write(1, b"up\\n")
while not select.select([0], [], [], 0.01)[0] or os.read(0, 4096):
    pass
"""
LISTENER = (sys.executable, "-S", "-E", "-c", LISTEN)
MODES = pytest.mark.parametrize("mode", [(), ("-c",), ("--single-child",)], ids=["group", "short", "long"])


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


@pytest.mark.parametrize("status", [0, 1, 2, 32, 64, 127, 254, 255])
def test_the_exit_status_is_the_commands(start: Start, status: int) -> None:
    assert start("dumb-init", "sh", "-c", f"exit {status}").wait(PATIENCE) == status


@pytest.mark.parametrize("name", ["TERM", "HUP", "QUIT", "KILL"])
def test_a_death_by_a_signal(start: Start, name: str) -> None:
    """Differs: it dies of the signal, too. A shell shows the same status for both."""
    number = signal.Signals[f"SIG{name}"]
    assert start("dumb-init", "sh", "-c", f"kill -{name} $$").wait(PATIENCE) == -number
    through = start("dumb-init", "sh", "-c", f"kill -{name} $$", before=("sh", "-c", '"$@"; exit $?', "sh"))
    assert through.wait(PATIENCE) == 128 + number


@MODES
def test_each_signal_is_handed_on_once(start: Start, mode: tuple[str, ...]) -> None:
    """All that can be caught but SIGCHLD, in any mode."""
    process = start("dumb-init", *mode, *LISTENER)
    assert line_of(process) == "up"
    for number in sorted(set(range(1, 32)) - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}):
        process.send_signal(number)
        assert line_of(process) == str(int(number))
    assert process.communicate(timeout=PATIENCE) == ("", "")
    assert process.returncode == 0


def test_one_signal_for_another(start: Start) -> None:
    """SIGTERM can be another one. Differs: the others cannot, and none can be left out."""
    process = start("dumb-init", "-r", "15:3", "--rewrite", "12:0", "-r", "1:2", *LISTENER)
    assert line_of(process) == "up"
    for sent, heard in ((signal.SIGTERM, 3), (signal.SIGUSR2, 12), (signal.SIGHUP, 1), (signal.SIGINT, 2)):
        process.send_signal(sent)
        assert line_of(process) == str(heard)


def descendants(process: subprocess.Popen[str]) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(process.pid).children(recursive=True)
    return []


def named(process: subprocess.Popen[str], name: str) -> list[psutil.Process]:
    found = []
    for each in descendants(process):
        with contextlib.suppress(psutil.NoSuchProcess):
            found += [each] if each.name() == name else []
    return found


@MODES
def test_a_signal_ends_all_of_a_pipeline(start: Start, mode: tuple[str, ...]) -> None:
    """Differs: in the mode for a single child, too, since nothing outlives the command."""
    process = start("dumb-init", *mode, "sh", "-c", "sleep 1000 | sleep 1001 & sleep 1002 | sleep 1003")
    wait_until(lambda: len(named(process, "sleep")) == 4, "the pipelines are there")
    all_of_it = descendants(process)
    process.terminate()
    assert process.wait(PATIENCE) == -signal.SIGTERM
    assert not [each for each in all_of_it if each.is_running()]


@MODES
def test_what_the_command_leaves_is_asked_to_end(start: Start, mode: tuple[str, ...]) -> None:
    """By SIGTERM. Differs: in any mode, and what does not end is killed."""
    patient = LISTEN[: LISTEN.index("while")] + "while not select.select([], [], [], 0.01)[0]: pass"
    process = start("dumb-init", *mode, "sh", "-c", '"$@" & read -r line; exit 4', "sh", *LISTENER[:-1], patient)
    assert line_of(process) == "up"
    assert process.communicate(timeout=PATIENCE)[0] == "15\n"
    assert process.returncode == 4


def test_a_stopped_command_goes_on(start: Start) -> None:
    """SIGCONT is for the command, as each signal is. Differs: SIGTSTP is handed on as it is, not as SIGSTOP."""
    telling = LISTEN.replace('b"up\\n"', 'b"%d\\n" % os.getpid()')
    process = start("dumb-init", *LISTENER[:-1], telling)
    command = psutil.Process(int(line_of(process)))
    command.send_signal(signal.SIGSTOP)
    wait_until(lambda: command.status() == psutil.STATUS_STOPPED, "it is stopped")
    process.send_signal(signal.SIGCONT)
    assert line_of(process) == str(int(signal.SIGCONT))
    process.send_signal(signal.SIGTSTP)
    assert line_of(process) == str(int(signal.SIGTSTP))
    assert psutil.Process(process.pid).status() != psutil.STATUS_STOPPED


@pytest.mark.parametrize("arguments", [(), ("--",), ("-c",), ("--single-child", "--")], ids=" ".join)
def test_a_command_that_is_not_there(start: Start, arguments: tuple[str, ...]) -> None:
    """It fails, and says what is missing. Differs: in its own words."""
    process = start("dumb-init", *arguments, "/treeguard/no/such")
    assert process.communicate(timeout=PATIENCE)[1] == "treeguard run: /treeguard/no/such: not found\n"
    assert process.returncode == 127


@pytest.mark.parametrize(
    ("arguments", "status"), [((), 125), (("--yolo", "true"), 125), (("--help",), 0), (("-h",), 0)]
)
def test_usage(start: Start, arguments: tuple[str, ...], status: int) -> None:
    """Differs: wrong usage is 125."""
    assert start("dumb-init", *arguments).wait(PATIENCE) == status


def test_directories(start: Start, tmp_path: Path) -> None:
    """The command is where it was started; its parent keeps no directory busy."""
    script = "readlink /proc/$PPID/cwd && readlink /proc/$$/cwd"
    told, _ = start("dumb-init", "sh", "-c", script, cwd=tmp_path).communicate(timeout=PATIENCE)
    assert told.splitlines() == ["/", str(tmp_path)]


def test_a_terminal_is_written_and_read(shims: Path) -> None:
    with contextlib.closing(Session(str(shims / "dumb-init"), "sh", "-c", "echo u' 'p; tac")) as session:
        session.see("u p\r\n")
        session.type("one\ntwo\n\x04")
        session.see("two\r\none\r\n")
        assert session.leader.wait(PATIENCE) == 0


def test_a_shell_has_its_job_control(shims: Path) -> None:
    """The command has the terminal of the stand-in, and is in its foreground."""
    with contextlib.closing(Session(str(shims / "dumb-init"), "bash", "--norc", "-m")) as session:
        session.type('echo "<$-> $(ps -o tpgid= -p $$) $$"\n')
        flags, foreground, shell = session.see(r"<(\w+)> +(\d+) (\d+)\r\n").groups()
        assert "m" in flags
        assert os.getsid(int(shell)) == session.leader.pid
        assert foreground == shell
        session.type("sleep 1000\n")
        wait_until(lambda: any(each.name() == "sleep" for each in session.others()), "the job runs")
        session.type("\x1a")
        session.see("Stopped")
        session.type("kill -9 %1; exit 5\nexit 5\n")
        assert session.leader.wait(PATIENCE) == 5
