"""Where a signal's handler or a destructor may come in between: the points at which CPython lets them.

A trace function acts at the n-th of these points. CPython looks for signals when a function begins, after calls, and
when a loop goes back (``CHECK_EVAL_BREAKER`` in ``Python/ceval.c``). Before 3.12 it collects garbage when a container
is made, and calls destructors then.
"""

from __future__ import annotations

import contextlib
import linecache
import opcode
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import treeguard

__all__ = ["PACKAGE", "Points"]

#: The beginning of the names of this package's files.
PACKAGE = str(Path(treeguard.__file__).parent) + "/"
#: The instructions after which CPython may call something else, by the beginning of their names.
_LOOKING = (
    *("CALL", "RESUME", "JUMP_BACKWARD", "JUMP_ABSOLUTE", "POP_JUMP_BACKWARD", "WITH_EXCEPT_START"),
    *("BUILD_", "MAKE_FUNCTION", "LIST_", "SET_", "DICT_", "GET_ITER", "BINARY_OP", "BINARY_ADD", "UNPACK_EX"),
)
_LOOKS = frozenset(number for name, number in opcode.opmap.items() if name.startswith(_LOOKING))
#: Functions in which nothing is raised. What a destructor raises is nobody's. The others get the number of a descriptor
#: from a call, and with it an exception that comes right then takes the number away, as in the standard library.
_NOT_RAISING = (
    *("__del__", "_get_handles", "_above_standard", "signal_if"),
    *("processes_of", "open_in", "_listed", "write"),
)


class Points:
    """Counts the points of this thread that are passed in the package, and acts at one.

    With more numbers than one, the others count what the act itself passes, which then acts again, inside.
    """

    def __init__(self, at: tuple[int, ...], act: Callable[[], None], *, traced: bool = True) -> None:
        """``traced``: the act is a call, which is traced in its turn; otherwise it may raise."""
        self._at = at
        self._act = act
        self._traced = traced
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
        name = frame.f_code.co_filename.removeprefix(PACKAGE)
        line = linecache.getline(frame.f_code.co_filename, frame.f_lineno or 0).strip()
        self.where.append(f"{name}:{frame.f_lineno} {frame.f_code.co_name}: {line} ({what} {frame.f_lasti})")
        if self._traced:
            sys.call_tracing(self._act, ())
        else:
            self._act()

    def trace(self, frame: FrameType, event: str, argument: object) -> Any:
        """The trace function."""
        if not frame.f_code.co_filename.startswith(PACKAGE) or len(self.where) == len(self._at):
            return None
        if frame.f_code.co_name in _NOT_RAISING and not self._traced:
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

    @contextlib.contextmanager
    def armed(self) -> Iterator[None]:
        """Counts in here."""
        _armed.append(self)
        sys.settrace(_trace)
        try:
            yield
        finally:
            sys.settrace(None)
            _armed.remove(self)


_armed: list[Points] = []
_own = threading.get_ident


def _trace(frame: FrameType, event: str, argument: object) -> Any:
    # One function for all: CPython 3.11 may still call one that raised when that has been freed.
    return _armed[-1].trace(frame, event, argument) if _armed else None
