"""Plain commands of ``treeguard.run``: callers wait for them alone, and nothing else depends on how long they live."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from types import FrameType

import pytest

from treeguard import GuardLost, run
from treeguard._blocking import short_lives
from treeguard._blocking.pump import Pump
from treeguard.subprocess import Popen, TimeoutExpired
from treeguard.types import Mechanism

from ..support.blocking import asleep, own_managers, sleeper
from ..support.patience import PATIENCE

__all__ = ["own_managers"]

#: Longer than a caller waits alone.
LONG = 0.12
_FAILING = """
import sys, treeguard
for program in ("no-such-program", "/no/such/program"):
    try:
        treeguard.run([program], containment=sys.argv[1])
    except FileNotFoundError:
        pass
"""
_LEAVING = """
import sys, threading, time, treeguard
thread = threading.Thread(target=treeguard.run, args=(sys.argv[2:],), kwargs={"containment": sys.argv[1]}, daemon=True)
thread.start()
time.sleep(0.02)
"""


def test_a_short_life_takes_no_part_in_the_pump(mechanism: Mechanism, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits in another way for a command that ends within the moment, whatever that is on a busy machine."""
    monkeypatch.setattr(short_lives, "_MOMENT", PATIENCE)
    # Another test may have imported OpenTelemetry.
    monkeypatch.setattr(short_lives, "observed", lambda: False)
    run(["true"], containment=mechanism)

    def wait(*_: object) -> bool:
        raise AssertionError("it waits in the pump")

    monkeypatch.setattr(Pump, "wait", wait)
    done = [run(["true"], containment=mechanism) for _ in range(5)]
    assert all(each.exit.code == 0 for each in done)


def test_control_a_long_life_does(mechanism: Mechanism, monkeypatch: pytest.MonkeyPatch) -> None:
    """Control: a command that lives on is waited for like others."""
    waits = []
    wait = Pump.wait

    def counted(self: Pump, *arguments: object) -> bool:
        waits.append(arguments)
        return wait(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Pump, "wait", counted)
    assert run(["sh", "-c", f"sleep {LONG}; exit 3"], containment=mechanism).exit.code == 3
    assert waits


def test_what_a_short_life_leaves_is_ended_and_named(mechanism: Mechanism) -> None:
    """The root ends at once, and its tree does not."""
    sleeping = sleeper()
    done = run(["sh", "-c", f"{sleeping} & exit 3"], containment=mechanism, timeout=PATIENCE)
    assert (done.returncode, len(done.left)) == (3, 1)
    assert not asleep(sleeping)


@pytest.mark.parametrize("timeout", [0.02, LONG])
def test_a_timeout(mechanism: Mechanism, timeout: float) -> None:
    """It may be over while the caller waits alone, and later."""
    sleeping = sleeper()
    begun = time.monotonic()
    with pytest.raises(TimeoutExpired):
        run(sleeping.split(), containment=mechanism, timeout=timeout)
    assert timeout <= time.monotonic() - begun < PATIENCE
    assert not asleep(sleeping)


def test_a_root_that_is_stopped(mechanism: Mechanism) -> None:
    """It is waited for as long as any other."""
    with pytest.raises(TimeoutExpired):
        run(["sh", "-c", "kill -STOP $$"], containment=mechanism, timeout=LONG)


def test_a_guard_that_is_killed(containing: Mechanism) -> None:
    """The loss of a guard is told as ever, and the tree is ended."""
    sleeping = sleeper()
    with pytest.raises(GuardLost):
        run(["sh", "-c", f"kill -KILL $PPID; exec {sleeping}"], containment=containing, timeout=PATIENCE)
    assert not asleep(sleeping)


def test_handlers_of_signals_run(mechanism: Mechanism) -> None:
    """They run in the middle of the wait, and may run commands of their own."""
    codes = []

    def handle(_: int, __: FrameType | None) -> None:
        codes.append(run(["sh", "-c", "exit 4"], containment=mechanism).returncode)

    before = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.03)
    try:
        assert run(["sh", "-c", f"sleep {LONG}; exit 3"], containment=mechanism).returncode == 3
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert codes
    assert set(codes) == {4}


def test_from_threads(mechanism: Mechanism) -> None:
    """No thread waits for another one's command: all are alone."""
    codes: list[int] = []

    def work() -> None:
        codes.extend(run(["sh", "-c", "exit 5"], containment=mechanism).returncode for _ in range(10))

    threads = [threading.Thread(target=work) for _ in range(3)]
    with Popen(["sleep", str(LONG)], containment=mechanism) as other:
        for thread in threads:
            thread.start()
        work()
        for thread in threads:
            thread.join(PATIENCE)
        assert other.wait(PATIENCE) == 0
    assert codes == [5] * 40


def test_a_fork_of_the_host_meanwhile(mechanism: Mechanism) -> None:
    """The copy has nothing of the command, and the command ends as ever."""
    results: list[int] = []
    thread = threading.Thread(target=lambda: results.append(run(["sleep", "0.03"], containment=mechanism).returncode))
    thread.start()
    copies = []
    for _ in range(5):
        copies.append(os.fork())
        if not copies[-1]:
            os._exit(0)
    thread.join(PATIENCE)
    assert [os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1]) for copy in copies] == [0] * 5
    assert results == [0]


def test_a_start_that_fails_does_not_hold_the_end_of_this_process(mechanism: Mechanism) -> None:
    """Nobody waits for a tree that was never started."""
    begun = time.monotonic()
    command = [sys.executable, "-c", _FAILING, mechanism]
    subprocess.run(command, check=True, timeout=2 * PATIENCE, capture_output=True)
    assert time.monotonic() - begun < 4.0


def test_the_end_of_this_process_meanwhile(mechanism: Mechanism) -> None:
    """A thread that waits alone does not hold the end of its process, and its tree ends with that."""
    sleeping = sleeper()
    command = [sys.executable, "-c", _LEAVING, mechanism, *sleeping.split()]
    subprocess.run(command, check=True, timeout=2 * PATIENCE, capture_output=True)
    deadline = time.monotonic() + PATIENCE
    while asleep(sleeping) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not asleep(sleeping)
