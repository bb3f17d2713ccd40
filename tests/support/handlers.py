"""Calls of ``treeguard.subprocess`` by a signal's handler, wherever it comes in the same calls of its thread.

To be run apart (:mod:`tests.support.apart`).
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import random
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from treeguard import PIPE, CompletedTree, run
from treeguard._blocking import manager as managers
from treeguard._blocking import pump
from treeguard.errors import NotOwner
from treeguard.subprocess import Popen, TimeoutExpired
from treeguard.types import Mechanism

from .blocking import asleep, sleeper
from .patience import PATIENCE
from .points import Points, armed

__all__ = ["CALLS", "SCENARIOS", "every_point_calls", "forks", "some_points_call_twice"]


class Stage:
    """What the handler works with."""

    def __init__(self, containment: Mechanism, patience: float = PATIENCE) -> None:
        self.containment = containment
        self.patience = patience
        self.sleeping = sleeper()
        #: The tree that is waited for outside of the handler, if there is one.
        self.outer: Popen[bytes] | None = None
        #: Whether the handler has ended it.
        self.killed = False
        self.faults: list[str] = []

    @contextlib.contextmanager
    def faultless(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.faults.append(traceback.format_exc())


# What the handler calls.


def _run(stage: Stage) -> None:
    done = run(["echo", "x"], capture_output=True, containment=stage.containment, timeout=stage.patience)
    assert done.stdout == b"x\n"


def _expire(stage: Stage) -> None:
    with contextlib.suppress(TimeoutExpired):
        run(stage.sleeping.split(), timeout=0.02, containment=stage.containment)
        raise AssertionError("it must not end")


def _fail(stage: Stage) -> None:
    with contextlib.suppress(FileNotFoundError):
        run(["/nonexistent/program"], containment=stage.containment)
        raise AssertionError("there is no such program")


def _own(stage: Stage) -> None:
    with Popen(["sh", "-c", f"{stage.sleeping} & exit 3"], containment=stage.containment) as process:
        assert process.wait(stage.patience) == 3
        process.terminate()
        process.kill()
        assert process.wait_empty(stage.patience)


def _wait(stage: Stage) -> None:
    if stage.outer is not None:
        stage.outer.poll()
        stage.outer.wait(stage.patience)


def _kill(stage: Stage) -> None:
    process = stage.outer
    if process is not None:
        stage.killed = True
        process.members()
        process.send_signal(signal.SIGCONT, to="all")
        process.terminate()
        process.kill()
        assert process.wait_empty(stage.patience)
        process.wait(stage.patience)


CALLS: dict[str, Callable[[Stage], None]] = {
    "run": _run,
    "expire": _expire,
    "fail": _fail,
    "own": _own,
    "wait": _wait,
    "kill": _kill,
}


# Where the handler comes.


def _running(stage: Stage) -> None:
    script = f"setsid {stage.sleeping} & echo hi; exit 2"
    done = run(["sh", "-c", script], capture_output=True, containment=stage.containment, timeout=PATIENCE)
    assert (done.returncode, done.stdout) == (2, b"hi\n"), done


def _waiting(stage: Stage) -> None:
    script = f"{stage.sleeping} & sleep 0.01; exit 4"
    with Popen(["sh", "-c", script], containment=stage.containment) as process:
        stage.outer = process
        assert process.wait(PATIENCE) == 4 or stage.killed
    assert process.wait_empty(PATIENCE)


def _talking(stage: Stage) -> None:
    """The handler can end it, and cannot wait for it."""
    with Popen(["sh", "-c", "read x; echo $x"], stdin=PIPE, stdout=PIPE, containment=stage.containment) as process:
        if CALLS["wait"] is not _called[0]:
            stage.outer = process
        output, _ = process.communicate(b"hi\n", timeout=PATIENCE)
        assert output == b"hi\n" or stage.killed
    assert process.wait_empty(PATIENCE)


def _ending(stage: Stage) -> None:
    with Popen(stage.sleeping.split(), containment=stage.containment) as process:
        process.members()
        process.terminate()
        stage.outer = process
        process.kill()
        assert process.wait(PATIENCE) in (-signal.SIGTERM, -signal.SIGKILL)
    assert process.wait_empty(PATIENCE)


SCENARIOS: dict[str, Callable[[Stage], None]] = {
    "running": _running,
    "waiting": _waiting,
    "talking": _talking,
    "ending": _ending,
}
#: What the handler calls now.
_called: list[Callable[[Stage], None]] = []


@contextlib.contextmanager
def _another_waits(containment: Mechanism) -> Iterator[None]:
    """Another thread waits all the time, and runs the loop unless something takes that over."""
    process = Popen(["sleep", "1000"], containment=containment)
    thread = threading.Thread(target=process.wait)
    thread.start()
    try:
        yield
    finally:
        process.kill()
        thread.join()


def _prepare(containment: Mechanism, call: str) -> None:
    # A thread that is not woken waits for ever, and not only for a second.
    pump._FOLLOW = PATIENCE * 100
    logging.disable()
    _called[:] = [CALLS[call]]
    # What is imported once is not of a call: a module that is half imported is of no use to a handler.
    for work in (*CALLS.values(), *SCENARIOS.values()):
        work(Stage(containment))


def _life(scenario: str, stage: Stage, points: Points) -> None:
    """One life, with a handler that comes at that point."""
    hooks = sys.excepthook, sys.unraisablehook
    sys.excepthook = lambda _, error, trace: stage.faults.extend(traceback.format_exception(error))
    sys.unraisablehook = lambda unraisable: stage.faults.append(str(unraisable))
    faulthandler.dump_traceback_later(3 * PATIENCE, exit=True)
    try:
        with stage.faultless(), armed(points):
            SCENARIOS[scenario](stage)
    finally:
        faulthandler.cancel_dump_traceback_later()
        sys.excepthook, sys.unraisablehook = hooks
    if left := asleep(stage.sleeping):
        stage.faults.append(f"left: {left}")


def every_point_calls(
    containment: Mechanism, scenario: str, call: str, first: int, step: int, others: bool, broken: bool
) -> tuple[int, list[str]]:
    """A handler comes at every ``step``-th point, from the first on. In how many lives, and what was wrong with those.

    ``others``: while another thread waits. ``broken``: until the first fault, with a handler that does not do what it
    has interrupted.
    """
    _prepare(containment, call)
    if broken:
        managers.own_manager(containment)._pump.mend = lambda: None
    faults: list[str] = []
    lives = 0
    with _another_waits(containment) if others else contextlib.nullcontext():
        while True:
            stage = Stage(containment, 1.0 if broken else PATIENCE)
            points = Points((first + lives * step,), _within(stage))
            _life(scenario, stage, points)
            if not points.where or (broken and faults):
                return lives, faults
            faults += [f"{points.where}: {fault}" for fault in stage.faults]
            lives += 1


def some_points_call_twice(containment: Mechanism, scenario: str, call: str, seed: int, lives: int) -> list[str]:
    """A handler comes at a random point, and again at one in that handler. What was wrong with those lives."""
    _prepare(containment, call)
    chance = random.Random(seed)
    # How many points there are: before the handler, and in it.
    counting = Points((1 << 60,), lambda: None)
    _life(scenario, Stage(containment), counting)
    inside = Points((1, 1 << 60), _within(Stage(containment)))
    _life(scenario, Stage(containment), inside)
    faults: list[str] = []
    for _ in range(lives):
        stage = Stage(containment)
        at = chance.randint(1, counting.passed[0]), chance.randint(1, max(inside.passed[1], 1))
        points = Points(at, _within(stage))
        _life(scenario, stage, points)
        faults += [f"{points.where}: {fault}" for fault in stage.faults]
    return faults


def forks(containment: Mechanism, captured: bool, after: float) -> tuple[int, Any, int]:
    """A handler forks during a run. Its return code and output, and 0 if the copy was told that it owns nothing."""
    copy: list[int] = []

    def fork(*_: object) -> None:
        copy.append(os.fork())
        if copy == [0]:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(int(PATIENCE))

    run(["true"], containment=containment)
    signal.signal(signal.SIGALRM, fork)
    signal.setitimer(signal.ITIMER_REAL, after)
    done: CompletedTree[Any]
    try:
        if captured:
            done = run(["sh", "-c", "sleep 0.4; echo hi"], stdout=PIPE, text=True, containment=containment)
        else:
            done = run(["sleep", "0.4"], containment=containment)
    except NotOwner:
        os._exit(0 if copy == [0] else 1)
    if copy == [0]:
        os._exit(2)
    return done.returncode, done.stdout, os.waitstatus_to_exitcode(os.waitpid(copy[0], 0)[1])


def _within(stage: Stage) -> Callable[[], Any]:
    def handle() -> None:
        with stage.faultless():
            _called[0](stage)

    return handle
