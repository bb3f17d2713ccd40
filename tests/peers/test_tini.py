"""What tini promises: orphans are reaped, signals handed on, the exit code is the command's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from ..support.patience import PATIENCE, wait_until
from .conftest import Start

SUBREAPER = pytest.mark.parametrize("environment", [{}, {"TINI_SUBREAPER": ""}], ids=["option", "variable"])


@pytest.mark.parametrize("code", [0, 1, 2, 63, 64, 126, 127, 128, 137, 143, 254, 255])
def test_exit_code(start: Start, code: int) -> None:
    """Any of them. Differs: none can be declared a success."""
    assert start("tini", "-e", "143", "--", "sh", "-c", f"exit {code}").wait(PATIENCE) == code


#: Leaves orphans, and ends well when none of them is left, not as a zombie either.
ORPHANS = """
import os, sys, time
pids = []
for _ in range(30):
    reading, writing = os.pipe()
    if (middle := os.fork()) == 0:
        if (orphan := os.fork()) != 0:
            os.write(writing, b"%d" % orphan)
        os._exit(0)
    pids.append(int(os.read(reading, 20)))
    os.waitpid(middle, 0)
deadline = time.monotonic() + float(sys.argv[1])
while any(os.path.exists(f"/proc/{pid}") for pid in pids):
    if time.monotonic() > deadline: sys.exit("they are still there")
    time.sleep(0.01)  # the pause between two looks
"""


@SUBREAPER
@pytest.mark.parametrize("options", [("-s",), ("-s", "-w"), ("-sv",), ()], ids=" ".join)
def test_orphans_are_reaped(start: Start, options: tuple[str, ...], environment: dict[str, str]) -> None:
    """Differs: whether that was asked for or not, and without a word."""
    process = start(
        "tini",
        *options,
        *(sys.executable, "-S", "-E", "-c", ORPHANS, str(PATIENCE)),
        env={**os.environ, **environment},
    )
    assert process.communicate(timeout=PATIENCE * 2) == ("", "")
    assert process.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2])
@pytest.mark.parametrize("option", ["-s", "-g"])
def test_a_command_that_dies_of_a_signal(start: Start, number: signal.Signals, option: str) -> None:
    """The signal is handed on. Differs: the stand-in dies of it, too."""
    process = start("tini", option, "sh", "-c", "echo up; sleep 1000")
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.send_signal(number)
    assert process.wait(PATIENCE) == -number


def test_the_group_gets_the_signal(start: Start) -> None:
    """A command that does not mind it ends with its child, which does."""
    script = "trap : USR1; sh -c 'echo up; exec sleep 1000'; exit 4"
    process = start("tini", "-g", "sh", "-c", script)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGUSR1)
    assert process.wait(PATIENCE) == 4


#: Ignores and blocks signals, and becomes what follows.
CONFIGURED = """
import os, signal, sys
for number in (signal.SIGTTOU, signal.SIGSEGV, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTTIN, signal.SIGILL, signal.SIGTERM])
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_what_is_ignored_and_blocked(start: Start) -> None:
    """Is so in the command, and nothing else."""
    before = (sys.executable, "-S", "-E", "-c", CONFIGURED)
    told, _ = start("tini", "cat", "/proc/self/status", before=before).communicate(timeout=PATIENCE)
    fields = dict(line.split(":\t", 1) for line in told.splitlines())
    expected = {
        "SigIgn": {signal.SIGTTOU, signal.SIGSEGV, signal.SIGINT},
        "SigBlk": {signal.SIGTTIN, signal.SIGILL, signal.SIGTERM},
        "SigCgt": set(),
    }
    for name, numbers in expected.items():
        assert int(fields[name], 16) == sum(1 << number - 1 for number in numbers), name


def test_the_end_of_the_parent(shims: Path, tmp_path: Path) -> None:
    """With -p the command gets that signal when the stand-in's parent has ended."""
    done = tmp_path / "done"
    script = f"trap 'echo asked >{done}; exit' USR1; echo $PPID; sleep 1000 & wait"
    command = [str(shims / "tini"), "-p", "SIGUSR1", "--", "sh", "-c", script]
    launching = "import subprocess, sys; subprocess.Popen(sys.argv[1:]).wait()"
    with subprocess.Popen(
        [sys.executable, "-S", "-E", "-c", launching, *command], stdout=subprocess.PIPE, text=True
    ) as launcher:
        assert launcher.stdout is not None
        guard = psutil.Process(int(launcher.stdout.readline()))
        launcher.kill()
        wait_until(done.exists, "the command was asked")
        wait_until(lambda: not guard.is_running(), "the tree is gone")
    assert done.read_text() == "asked\n"
