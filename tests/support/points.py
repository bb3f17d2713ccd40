"""Where a signal's handler or a destructor may come in between: the points at which CPython lets them.

CPython looks for signals when a function begins, after calls, and when a loop goes back (``CHECK_EVAL_BREAKER`` in
``Python/ceval.c``). Before 3.12 it collects garbage when a container is made, and calls destructors then.

:class:`Points` makes calls there. :class:`Trips` lets a signal arrive just before, so that CPython runs its handler: an
exception comes where a real one does. One that a trace function raises may be out of the block that a call is in.
"""

from __future__ import annotations

import _thread
import contextlib
import linecache
import opcode
import signal
import sys
from collections.abc import Callable, Iterator
from operator import methodcaller
from pathlib import Path
from types import FrameType
from typing import Any

import treeguard

__all__ = ["PACKAGE", "NewTrips", "NthTrip", "Points", "Trips", "armed"]

#: The beginning of the names of this package's files.
PACKAGE = str(Path(treeguard.__file__).parent) + "/"
#: The instructions after which CPython may call something else, by the beginning of their names.
_LOOKING = (
    *("CALL", "RESUME", "JUMP_BACKWARD", "JUMP_ABSOLUTE", "POP_JUMP_BACKWARD", "WITH_EXCEPT_START"),
    *("BUILD_", "MAKE_FUNCTION", "LIST_", "SET_", "DICT_", "GET_ITER", "BINARY_OP", "BINARY_ADD", "UNPACK_EX"),
)
_LOOKS = frozenset(number for name, number in opcode.opmap.items() if name.startswith(_LOOKING))


class Points:
    """Counts the points of this thread that are passed in the package, and acts at one.

    With more numbers than one, the others count what the act itself passes, which then acts again, inside.
    """

    def __init__(self, at: tuple[int, ...], act: Callable[[], None]) -> None:
        self._at = at
        self._act = act
        #: How many were passed at each depth, and where it acted.
        self.passed = [0] * len(at)
        self.where: list[str] = []

    def _pass(self, frame: FrameType, what: str) -> None:
        depth = len(self.where)
        if depth == len(self._at):
            return
        self.passed[depth] += 1
        if self.passed[depth] != self._at[depth]:
            return
        self.where.append(f"{_place_of(frame)} ({what} {frame.f_lasti})")
        sys.call_tracing(self._act, ())

    def trace(self, frame: FrameType, event: str, argument: object) -> Any:
        """The trace function."""
        if not frame.f_code.co_filename.startswith(PACKAGE) or len(self.where) == len(self._at):
            return None
        frame.f_trace_opcodes = True
        self._pass(frame, "call")
        code, last = frame.f_code.co_code, [-1]

        def within(frame: FrameType, event: str, argument: object) -> Any:
            if event == "opcode":
                before, last[0] = last[0], code[frame.f_lasti]
                if before in _LOOKS:
                    self._pass(frame, "after")
            elif event == "exception":
                # A call that raises is followed by its handler, without a look at signals.
                last[0] = -1
            return within

        return within


def _place_of(frame: FrameType) -> str:
    name = frame.f_code.co_filename.removeprefix(PACKAGE)
    line = linecache.getline(frame.f_code.co_filename, frame.f_lineno or 0).strip()
    return f"{name}:{frame.f_lineno} {frame.f_code.co_name}: {line}"


class _Arrival:
    """``now`` lets a signal arrive. CPython does not look for signals after an attribute, as it does after a call."""

    arrive = staticmethod(_thread.interrupt_main)
    now = property(methodcaller("arrive", signal.SIGUSR1))


_arrival: Any = _Arrival()
#: Before these a signal arrives. Python 3.10 looks between almost all instructions.
_BEFORE = frozenset(
    number for name, number in opcode.opmap.items() if name.startswith(_LOOKING[:6]) or sys.version_info < (3, 11)
)
#: What is raised when this is called comes before the block: the tree is not bound to that yet, and goes on, as the
#: child of a ``Popen`` of the standard library does that nobody holds.
_DOOR = "__enter__"


class Trips:
    """Lets SIGUSR1 arrive at one of the points of this thread that are passed in the package."""

    def __init__(self) -> None:
        #: How many were passed, and where it arrived; empty if it did not.
        self.passed = 0
        self.where = ""

    def is_due(self, frame: FrameType) -> bool:
        """Whether to let it arrive at the point that is passed."""
        raise NotImplementedError

    def trace(self, frame: FrameType, event: str, argument: object) -> Any:
        """The trace function."""
        if not frame.f_code.co_filename.startswith(PACKAGE) or self.where or frame.f_code.co_name == _DOOR:
            return None
        frame.f_trace_opcodes = True
        code = frame.f_code.co_code

        def within(frame: FrameType, event: str, argument: object) -> Any:
            if event == "opcode" and code[frame.f_lasti] in _BEFORE and not self.where:
                self.passed += 1
                if self.is_due(frame):
                    self.where = f"{_place_of(frame)} ({frame.f_lasti})"
                    # From here to the return there must be no call.
                    _arrival.now  # noqa: B018
            return within

        return within


class NthTrip(Trips):
    """At the n-th point."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self._at = at

    def is_due(self, frame: FrameType) -> bool:
        return self.passed == self._at


class NewTrips(Trips):
    """At the first point that was not passed before: another place, or reached in another way.

    The second pass of a loop counts as another one, and no later pass.
    """

    def __init__(self, seen: set[tuple[int, int]], *, first: int = 0, step: int = 1) -> None:
        """``seen``: the points that were passed before. ``step``: only at each ``step``-th, from the first on."""
        super().__init__()
        self._seen = seen
        self._first, self._step = first, step
        self._times: dict[int, int] = {}

    def is_due(self, frame: FrameType) -> bool:
        way: list[tuple[int, int]] = []
        outer: FrameType | None = frame
        while outer is not None:
            way.append((id(outer.f_code), outer.f_lasti))
            outer = outer.f_back
        place = hash(tuple(way))
        self._times[place] = times = self._times.get(place, 0) + 1
        if times > 2 or (place, times) in self._seen:
            return False
        self._seen.add((place, times))
        return len(self._seen) % self._step == self._first


@contextlib.contextmanager
def armed(points: Points | Trips) -> Iterator[None]:
    """Counts the points in here."""
    _armed.append(points)
    sys.settrace(_trace)
    try:
        yield
    finally:
        sys.settrace(None)
        _armed.remove(points)


_armed: list[Points | Trips] = []


def _trace(frame: FrameType, event: str, argument: object) -> Any:
    # One function for all: CPython 3.11 may still call one that raised when that has been freed.
    return _armed[-1].trace(frame, event, argument) if _armed else None
