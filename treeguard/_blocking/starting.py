"""Starting a tree in another thread than the caller's."""

from __future__ import annotations

import errno
from collections.abc import Callable
from concurrent.futures import Future

from .._core.native import CoreError
from .._core.worker import Worker

__all__ = ["start_elsewhere"]


def start_elsewhere(forker: Worker, start: Callable[[], None]) -> None:
    """Starts a tree in a thread that lives as long as its manager: the kernel ends the root when its thread ends.

    Raises what ``start`` does, and a :class:`~treeguard._core.native.CoreError` if there is no thread.
    """
    if not forker.begin():
        raise CoreError("clone", errno.EAGAIN)
    made: Future[None] = Future()

    def attempt() -> None:
        try:
            start()
            made.set_result(None)
        except BaseException as error:
            made.set_exception(error)

    forker.post(attempt)
    interrupted: BaseException | None = None
    while not made.done():
        try:
            made.exception()
        except BaseException as error:
            interrupted = error
    if interrupted is not None:
        raise interrupted
    made.result()
