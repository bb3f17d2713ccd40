"""A thread that makes one call after another, for event loops that must not wait for them."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from typing import Any, TypeVar

__all__ = ["Worker"]

T = TypeVar("T")


class Worker:
    """A thread that starts when it is first needed, and lives until :meth:`close`. It has one owner.

    So unlike an event loop's executor, other users cannot keep it busy, and a closing loop need not end it.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def begin(self) -> bool:
        """Starts the thread if it has not started. Returns whether there is one.

        No thread is available at a limit of processes, or where a filter forbids clone3 with EPERM: libc does not try
        the older call after that error.
        """
        if self._thread is None:
            thread = threading.Thread(target=self._serve, name=self._name, daemon=True)
            try:
                thread.start()
            except RuntimeError:
                return False
            self._thread = thread
        return True

    async def run(self, call: Callable[[], T]) -> T:
        """Makes a call in the thread, after those that wait there. The call is made even if this is cancelled.

        Raises what the call raises, and RuntimeError if there is no thread.
        """
        if not self.begin():
            raise RuntimeError(f"the thread {self._name} cannot be started")
        made: Future[T] = Future()
        self._calls.put((call, made))
        return await asyncio.wrap_future(made)

    def post(self, call: Callable[[], None]) -> None:
        """Queues a call for the thread, which must have begun. Its end, and what it raises, are not reported."""
        self._calls.put((call, Future()))

    def _serve(self) -> None:
        asked: tuple[Callable[[], Any], Future[Any]] | None = None
        while True:
            try:
                asked = None
                asked = self._calls.get()
                if asked is None:
                    return
                _tell(asked[1].set_result, asked[0]())
            except BaseException as error:
                # Pass every exception to the waiting caller: if it ended the thread, later calls would not be made.
                if asked is not None:
                    _tell(asked[1].set_exception, error)

    def close(self) -> None:
        """Ends the thread, after the calls that wait."""
        if self._thread is not None:
            self._calls.put(None)
            self._thread = None


def _tell(how: Callable[[Any], None], what: Any) -> None:
    with contextlib.suppress(InvalidStateError):  # the future was cancelled in the meantime
        how(what)
