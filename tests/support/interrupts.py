"""An exception of a signal's handler at every point of ``treeguard.run`` and ``Popen`` at which CPython lets one come.

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
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from treeguard import PIPE, run
from treeguard._blocking import manager as managers
from treeguard._core.cgroup.cgroups import own_cgroup
from treeguard.subprocess import Popen, TimeoutExpired, call
from treeguard.types import Mechanism

from .belongings import belongings
from .blocking import asleep, sleeper
from .patience import PATIENCE
from .points import PACKAGE, NewTrips, NthTrip, Trips, armed

__all__ = ["ERRORS", "SCENARIOS", "every_point_raises", "some_points_raise_twice", "storm"]

#: How long, in seconds, what is ended by others may take.
_MOMENT = 3.0
#: After so many lives without a new point there are no more: which points are passed differs a little between lives.
_QUIET = 3


class Interrupt(KeyboardInterrupt):
    """Ctrl-C, whose default handler raises it."""


class Exit(SystemExit):
    """What a handler of SIGTERM raises."""


class Alarm(Exception):
    """What a handler of SIGALRM raises."""


class Late(TimeoutError):
    """What it raises as well: an OSError."""


ERRORS: dict[str, type[BaseException]] = {"interrupt": Interrupt, "exit": Exit, "alarm": Alarm, "late": Late}


#: Where Python drops what is raised: in a destructor.
_DESTRUCTOR = ("", "__del__")
#: Where an OSError is of no interest, and a TimeoutError of a handler is taken for one: what a manager prepares for the
#: loss of a guard, which it does again later, and the removal of a leaf that was not used.
_TIDYING = (("_core/standby.py", "_stand_by"), ("cgroup/cgroups.py", "discard"))


# What is interrupted.


def _capture(sleeping: str, **options: Any) -> None:
    run(["sh", "-c", f"setsid {sleeping} & echo hi"], capture_output=True, timeout=PATIENCE, **options)


def _feed(sleeping: str, **options: Any) -> None:
    run(["sh", "-c", "cat >/dev/null"], input=bytes(100_000), stderr=PIPE, timeout=PATIENCE, **options)


def _expire(sleeping: str, **options: Any) -> None:
    with contextlib.suppress(TimeoutExpired):
        run(["sh", "-c", f"echo hi; {sleeping}"], stdout=PIPE, timeout=0.03, **options)


def _let_finish(sleeping: str, **options: Any) -> None:
    run(["sh", "-c", "(sleep 0.01; echo late) &"], stdout=PIPE, on_root_exit="wait", timeout=PATIENCE, **options)


def _ask(sleeping: str, **options: Any) -> None:
    script = f"{sleeping} & exit 3"
    run(["sh", "-c", script], stdout=PIPE, on_root_exit="terminate", grace=PATIENCE, max_output=1, text=True, **options)


def _fail(sleeping: str, **options: Any) -> None:
    with contextlib.suppress(FileNotFoundError):
        run(["/nonexistent/program"], stdout=PIPE, **options)


def _block(sleeping: str, **options: Any) -> None:
    with Popen(["sh", "-c", f"{sleeping} & exit 3"], **options) as process:
        process.wait()


def _talk(sleeping: str, **options: Any) -> None:
    command = ["sh", "-c", f"cat; {sleeping} &"]
    with Popen(command, stdin=PIPE, stdout=PIPE, **options) as process, contextlib.suppress(TimeoutExpired):
        process.communicate(b"hi", timeout=0.05)


def _verbs(sleeping: str, **options: Any) -> None:
    with Popen(sleeping.split(), **options) as process:
        process.poll()
        process.members()
        process.send_signal(0)
        process.terminate()
        process.kill()
        process.wait_empty(PATIENCE)


def _call(sleeping: str, **options: Any) -> None:
    call(["sh", "-c", f"{sleeping} & exit 3"], **options)


def _at_terminal(sleeping: str, **options: Any) -> None:
    run(["sh", "-c", f"setsid {sleeping} & cat"], input=b"hi", stdout=PIPE, pty=True, timeout=PATIENCE, **options)


def _fail_to_start(sleeping: str, **options: Any) -> None:
    with contextlib.suppress(FileNotFoundError), Popen(["/nonexistent/program"], stdout=PIPE, **options):
        pass


def _plain(_: str, **options: Any) -> None:
    run(["true"], **options)


def _plain_leaving(sleeping: str, **options: Any) -> None:
    run(["sh", "-c", f"{sleeping} & exit 3"], **options)


def _plain_late(sleeping: str, **options: Any) -> None:
    with contextlib.suppress(TimeoutExpired):
        run(sleeping.split(), timeout=0.08, **options)


def _plain_failing(_: str, **options: Any) -> None:
    with contextlib.suppress(FileNotFoundError):
        run(["/nonexistent/program"], **options)


SCENARIOS: dict[str, Callable[..., None]] = {
    "capture": _capture,
    "feed": _feed,
    "expire": _expire,
    "finish": _let_finish,
    "ask": _ask,
    "fail": _fail,
    "block": _block,
    "talk": _talk,
    "verbs": _verbs,
    "call": _call,
    "terminal": _at_terminal,
    "start": _fail_to_start,
    "plain": _plain,
    "plain, leaving": _plain_leaving,
    "plain, late": _plain_late,
    "plain, failing": _plain_failing,
}


# What is left.


def _leaves() -> set[str]:
    try:
        return {str(path) for path in own_cgroup().glob(f"treeguard.*.{os.getpid()}.*/*") if path.is_dir()}
    except FileNotFoundError:
        return set()


def _locks() -> list[str]:
    """The locks that this thread holds, and never gives back."""
    locks: dict[str, Any] = {name: manager._pump.lock for name, manager in managers._managers.items()}
    return [f"lock of {name}" for name, lock in locks.items() if lock._is_owned()]


def _left(before: set[str], sleeping: str, containment: Mechanism) -> list[str]:
    deadline = time.monotonic() + _MOMENT
    while True:
        threads = {f"thread {thread.name}" for thread in threading.enumerate()}
        processes = [f"process {pid}" for pid in asleep(sleeping)]
        left = [*(belongings() | threads - before), *_leaves(), *processes, *_locks()]
        # A manager in use keeps two of those, and gives them up when it needs descriptors.
        left = sorted(each for each in set(left) - before if not each.endswith("/dev/null"))
        if not left or time.monotonic() > deadline:
            return left
        # What was interrupted in the engine goes on when somebody waits the next time.
        try:
            run(["true"], containment=containment, timeout=_MOMENT)
        except TimeoutExpired:
            return ["a state in which nothing can be run"]
        time.sleep(0.005)


class Life:
    """One life with an exception in it."""

    def __init__(self, containment: Mechanism, scenario: str, error: str) -> None:
        self._containment = containment
        self._work = SCENARIOS[scenario]
        self._kind = ERRORS[error]
        self.sleeping = sleeper()
        self._before: set[str] = set()
        #: The exceptions that were raised, in order, and where the second one was.
        self.raised: list[BaseException] = []
        self.second = ""
        #: Counts calls from the first one to the second one, if there is to be one.
        self._count: Callable[[FrameType, str, object], None] | None = None
        #: Whether it came where it is dropped.
        self._dropped = False

    def prepare(self) -> None:
        """What is imported, opened and started once is not of a life."""
        signal.signal(signal.SIGUSR1, self.raise_)
        logging.disable()
        sys.unraisablehook = lambda _: None
        sys.excepthook = lambda *_: None
        for _ in range(2):
            self._work(self.sleeping, containment=self._containment)
        _left(set(), self.sleeping, self._containment)
        self._before = belongings() | {f"thread {thread.name}" for thread in threading.enumerate()}

    def raise_(self, _: int, frame: FrameType | None) -> None:
        dropping = (_DESTRUCTOR, *_TIDYING) if issubclass(self._kind, OSError) else (_DESTRUCTOR,)
        outer = frame
        while outer is not None:
            code = outer.f_code
            self._dropped |= any(code.co_name == name and code.co_filename.endswith(file) for file, name in dropping)
            outer = outer.f_back
        self.raised.append(self._kind())
        # Not before: a signal that has arrived would be handled in that function, before the call that it is told of.
        sys.setprofile(self._count)
        raise self.raised[-1]

    def signal(self) -> None:
        """Raises in a handler of a signal."""
        signal.raise_signal(signal.SIGUSR1)

    def live(self, points: Trips, after: int = 0) -> list[str]:
        """What is wrong with a life. ``after``: so many calls after the first exception comes another one."""
        self.raised.clear()
        self._dropped = False
        faults: list[str] = []
        arrived: BaseException | None = None
        faulthandler.dump_traceback_later(3 * PATIENCE, exit=True)
        try:
            with armed(points), self._again(after):
                self._work(self.sleeping, containment=self._containment)
        except BaseException as error:
            arrived = error
        faulthandler.cancel_dump_traceback_later()
        if points.where and not self.raised:
            faults.append("nothing was raised")
        if arrived is not (self.raised[-1] if self.raised else None) and not (arrived is None and self._dropped):
            faults.append(f"arrived: {arrived!r}")
        # They hold what was under way: a tree of a block is ended at the latest when that is dropped.
        arrived = None
        self.raised.clear()
        left = _left(self._before, self.sleeping, self._containment)
        if after:
            # An exception in the cleanup after another one may take the number of a descriptor with it.
            left = [each for each in left if not each.startswith("descriptor")]
        if left:
            faults.append(f"left: {left}")
            self._before |= set(left)
            self.sleeping = sleeper()
        return [f"{points.where} {self.second}: {fault}" for fault in faults]

    @contextlib.contextmanager
    def _again(self, after: int) -> Iterator[None]:
        left = [after]
        self.second = ""

        def count(frame: FrameType, event: str, _: object) -> None:
            if len(self.raised) != 1 or event not in ("call", "c_return"):
                return
            if frame.f_code.co_filename.startswith(PACKAGE):
                left[0] -= 1
                if left[0] == 0 and frame.f_code.co_name != "__del__":
                    self.second = f"and {frame.f_code.co_name}:{frame.f_lineno} ({event})"
                    self.signal()

        self._count = count if after else None
        try:
            yield
        finally:
            self._count = None
            sys.setprofile(None)


def every_point_raises(
    containment: Mechanism, scenario: str, error: str, first: int, step: int, broken: bool
) -> tuple[int, list[str]]:
    """Raises at every ``step``-th point that is new, from the first on. In how many lives, and what was wrong.

    ``broken``: until the first fault, with an interrupted command whose tree is not ended.
    """
    life = Life(containment, scenario, error)
    life.prepare()
    if broken:
        managers.BlockingManager.end = lambda *_: True  # type: ignore[method-assign]
    faults: list[str] = []
    seen: set[tuple[int, int]] = set()
    lives = quiet = 0
    while quiet < _QUIET and not (broken and faults):
        points = NewTrips(seen, first=first, step=step)
        faults += life.live(points)
        quiet = 0 if points.where else quiet + 1
        lives += bool(points.where)
    return lives, faults


def _work(containment: Mechanism, kind: int) -> None:
    if kind == 0:
        run(["sh", "-c", "sleep 0.002 & echo hi"], capture_output=True, containment=containment)
    elif kind == 1:
        run(["true"], containment=containment)
    else:
        run(["cat"], input=bytes(70_000), stdout=PIPE, timeout=PATIENCE, containment=containment)


def storm(containment: Mechanism, seed: int, lives: int, pause: float) -> tuple[int, list[str]]:
    """A handler raises every few milliseconds, also within the cleanup after that. How often, and what is left."""
    chance = random.Random(seed)
    life = Life(containment, "plain", "alarm")
    life.prepare()
    for kind in range(3):
        _work(containment, kind)
    before = belongings() | {f"thread {thread.name}" for thread in threading.enumerate()}

    def raise_within(number: int, frame: FrameType | None) -> None:
        outer = frame
        while outer is not None and outer.f_code is not _work.__code__:
            outer = outer.f_back
        if outer is not None:
            life.raise_(number, frame)

    signal.signal(signal.SIGALRM, raise_within)
    for _ in range(lives):
        with contextlib.suppress(Alarm):
            signal.setitimer(signal.ITIMER_REAL, pause, pause)
            _work(containment, chance.randrange(3))
        signal.setitimer(signal.ITIMER_REAL, 0)
    left = _left(before, life.sleeping, containment)
    return len(life.raised), left


def some_points_raise_twice(containment: Mechanism, scenario: str, error: str, seed: int, lives: int) -> list[str]:
    """Raises at a random point, and again soon after that. What was wrong with those lives."""
    life = Life(containment, scenario, error)
    life.prepare()
    counting = NthTrip(-1)
    life.live(counting)
    chance = random.Random(seed)
    faults: list[str] = []
    for _ in range(lives):
        points = NthTrip(chance.randint(1, counting.passed))
        faults += life.live(points, after=int(chance.paretovariate(0.5)))
    return faults
