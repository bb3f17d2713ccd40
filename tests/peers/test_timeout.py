"""What GNU timeout promises: an end in time, whatever the command does, and a status that tells how it came."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import pytest

from ..support.patience import PATIENCE, SLOWNESS
from .conftest import Start

#: More seconds than are waited for.
LATE = "1000"
#: As many as a shell needs on a busy host before it has set its traps.
SOON = str(1.5 * SLOWNESS)
DEAF = f"trap '' TERM; sleep {LATE} & wait; wait"


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        pytest.param(("10", "true"), 0, id="in time"),
        pytest.param(("1d", "true"), 0, id="days"),
        pytest.param(("0.5m", "true"), 0, id="parts of minutes"),
        pytest.param(("0", "true"), 0, id="for ever"),
        pytest.param(("10", "sh", "-c", "exit 2"), 2, id="its own status"),
        pytest.param(("10", "sh", "-c", "exit 124"), 124, id="the status of a timeout"),
        pytest.param((".1", "sleep", LATE), 124, id="too late"),
        pytest.param(("-sINT", ".1", "sleep", LATE), 124, id="another signal"),
        pytest.param(("--signal=10", ".1", "sleep", LATE), 124, id="a signal by its number"),
        pytest.param(("--foreground", ".1", "sleep", LATE), 124, id="foreground"),
        pytest.param(("10", "sh", "-c", "kill -TERM $$"), -signal.SIGTERM, id="dies by itself"),
        pytest.param(("10", "sh", "-c", "kill -KILL $$"), -signal.SIGKILL, id="is killed"),
        # What is wrong is told apart from what the command does.
        pytest.param(("invalid", "true"), 125, id="no duration"),
        pytest.param(("--kill-after=invalid", "1", "true"), 125, id="no delay"),
        pytest.param(("42D", "true"), 125, id="no unit"),
        pytest.param(("--", "-1", "true"), 125, id="less than 0"),
        pytest.param(("--", "-1e4000", "true"), 125, id="much less than 0"),
        pytest.param(("--signal=invalid", "1", "true"), 125, id="no signal"),
        pytest.param(("10",), 125, id="no command"),
        pytest.param(("--yolo", "10", "true"), 125, id="no option"),
        pytest.param(("10", "."), 126, id="a directory"),
        pytest.param(("10", "treeguard-no-such-program"), 127, id="nothing"),
        # Numbers that are hard to represent.
        pytest.param(("9.999999999", "true"), 0, id="nanoseconds"),
        pytest.param(("4294967296", "true"), 0, id="beyond an unsigned int"),
        pytest.param(("9223372036854775808d", "true"), 0, id="beyond a time_t"),
        pytest.param(("2.34e+5d", "true"), 0, id="with an exponent"),
        pytest.param(("1.1e+4932", "true"), 0, id="beyond a double"),
    ],
)
def test_status(start: Start, arguments: tuple[str, ...], status: int) -> None:
    assert start("timeout", *arguments).wait(PATIENCE) == status


@pytest.mark.parametrize("seconds", ["9223372036854775808", "1.1e+4932", "1e300"])
def test_a_huge_time_is_not_over_at_once(start: Start, seconds: str) -> None:
    process = start("timeout", seconds, "sh", "-c", "echo up; read -r line; exit 3")
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.communicate("\n", timeout=PATIENCE)
    assert process.returncode == 3


@pytest.mark.parametrize(
    "options", [("-k1",), ("-s0", "-k.2"), ("--foreground", "-s0", "-k.2"), ("--preserve-status", "-k1")]
)
def test_what_does_not_end_is_killed(start: Start, options: tuple[str, ...]) -> None:
    """Differs: the status is 124 all the same."""
    began = time.monotonic()
    assert start("timeout", *options, ".1", "sh", "-c", DEAF).wait(PATIENCE) == 124
    assert time.monotonic() - began > 0.3


def test_without_a_delay_nothing_is_killed(start: Start) -> None:
    """A command that takes its time to end has it."""
    script = "trap 'echo asked; read -r line; echo saved; exit' TERM; sleep 1000 & wait"
    process = start("timeout", SOON, "sh", "-c", script)
    assert process.stdout is not None
    assert process.stdout.readline() == "asked\n"
    assert process.communicate("\n", timeout=PATIENCE)[0] == "saved\n"
    assert process.returncode == 124


def test_the_command_is_asked_by_the_signal(start: Start) -> None:
    process = start("timeout", "-s", "usr1", SOON, "sh", "-c", f"trap 'echo asked; exit' USR1; sleep {LATE} & wait")
    assert process.communicate(timeout=PATIENCE)[0] == "asked\n"
    assert process.returncode == 124


def test_a_command_that_is_stopped_hears_it(start: Start) -> None:
    process = start("timeout", SOON, "sh", "-c", "trap 'echo asked; exit' TERM; kill -STOP $$")
    assert process.communicate(timeout=PATIENCE)[0] == "asked\n"
    assert process.returncode == 124


def test_the_whole_group_is_asked(start: Start) -> None:
    """A command that waits for its children ends with them."""
    first = f"trap 'echo first; exit' TERM; sleep {LATE} & wait"
    script = f'trap : TERM; sh -c "{first}" & wait; wait; echo last'
    process = start("timeout", SOON, "sh", "-c", script)
    assert process.communicate(timeout=PATIENCE)[0] == "first\nlast\n"
    assert process.returncode == 124


def test_one_within_another(start: Start, shims: Path) -> None:
    """An end that the outer one is asked for reaches the command of the inner one, which has a group of its own."""
    # Not in the background: there a shell lets commands ignore SIGINT, and the tree waits for each of them.
    script = "trap 'echo asked; exit 7' INT; echo up; sleep 1000"
    process = start("timeout", "-sINT", LATE, f"{shims}/timeout", "-sINT", LATE, "sh", "-c", script)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.terminate()
    assert process.communicate(timeout=PATIENCE)[0] == "asked\n"
    assert process.returncode == 7


@pytest.mark.parametrize("name", ["SIGALRM", "SIGTERM", "SIGCHLD"])
def test_signals_that_are_blocked_do_not_stop_the_clock(start: Start, name: str) -> None:
    """The clock does not depend on what was inherited."""
    blocking = (
        f"import os, signal, sys; signal.pthread_sigmask(0, [signal.{name}]); os.execv(sys.argv[1], sys.argv[1:])"
    )
    before = (sys.executable, "-S", "-E", "-c", blocking)
    assert start("timeout", "-sKILL", ".1", "sleep", LATE, before=before).wait(PATIENCE) == 124


@pytest.mark.parametrize("trapped", ["CHLD", "ALRM"])
def test_signals_that_are_ignored_do_not_hide_the_end(start: Start, trapped: str) -> None:
    before = ("sh", "-c", f"trap '' {trapped}; exec \"$@\"", "sh")
    assert start("timeout", "10", "sh", "-c", "exit 3", before=before).wait(PATIENCE) == 3


def test_a_child_from_before_is_no_command(start: Start) -> None:
    """It may have been started by what has become timeout: its end is no end of the command."""
    before = ("sh", "-c", 'sleep .1 & exec "$@"', "sh")
    process = start("timeout", ".5", "sh", "-c", f"sleep {LATE}; echo went on", before=before)
    assert process.communicate(timeout=PATIENCE)[0] == ""
    assert process.returncode == 124


def test_the_alarm_is_the_commands(start: Start) -> None:
    """Differs: SIGALRM is handed on, and does not end the time."""
    process = start("timeout", LATE, "sh", "-c", "trap 'exit 6' ALRM; echo up; sleep 1000 & wait")
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGALRM)
    assert process.wait(PATIENCE) == 6
