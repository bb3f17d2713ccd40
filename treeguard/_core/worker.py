"""A thread that makes one call after the other, for event loops that must not wait for them."""

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
    """Its thread is begun when it is first needed, and lives until :meth:`close`. It is nobody else's.

    So unlike an event loop's executor it is not kept busy by others, and loops have nothing to do for its end.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def begin(self) -> bool:
        """Begins the thread, if it has not begun. Whether there is one.

        None can be had at a limit of processes, or where a filter forbids clone3 with EPERM, since libc does not try
        the older call then.
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
        """Makes a call in the thread, after those that wait there. It is made also if this is cancelled.

        Raises what the call raises, and RuntimeError where there is no thread.
        """
        if not self.begin():
            raise RuntimeError(f"the thread {self._name} cannot be started")
        made: Future[T] = Future()
        self._calls.put((call, made))
        return await asyncio.wrap_future(made)

    def post(self, call: Callable[[], None]) -> None:
        """Has a call made by the thread, which was begun. Nobody is told of its end, or of what it raises."""
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
                # Whatever it is, it is for who waits: a thread that ended of it would make no more calls.
                if asked is not None:
                    _tell(asked[1].set_exception, error)

    def close(self) -> None:
        """Ends the thread, after the calls that wait."""
        if self._thread is not None:
            self._calls.put(None)
            self._thread = None


def _tell(how: Callable[[Any], None], what: Any) -> None:
    with contextlib.suppress(InvalidStateError):  # it was cancelled meanwhile
        how(what)
