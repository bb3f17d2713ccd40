"""Telling what a signal's handler has raised from errors of what it came in."""

from __future__ import annotations

import contextlib
from types import TracebackType

__all__ = ["SystemErrors", "of_handler"]


class SystemErrors(contextlib.AbstractContextManager[None]):
    """Suppresses errors of the system, but for one that a signal's handler has raised, such as TimeoutError."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        return error is not None and issubclass(type(error), OSError) and not of_handler(error)


def of_handler(error: BaseException) -> bool:
    """Whether a signal's handler raised it, such as one that ends what takes too long.

    A handler is told the frame in which it came, and was called there: by the interpreter, between two instructions.
    """
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        came_in, trace = trace.tb_frame, trace.tb_next
        for value in trace.tb_frame.f_locals.values():
            if value is came_in or (type(value) is tuple and len(value) > 1 and value[1] is came_in):
                return True
    return False
