"""A thread that waits for what no event loop can watch, and has a loop look each time. For any kind of loop."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio

__all__ = ["PollThread", "Pollable"]


class Pollable(Protocol):
    """What a thread can wait for."""

    def wait(self, timeout: float | None) -> bool:
        """Waits until there is something to look at, or :meth:`wake` was called."""
        ...

    def wake(self) -> None:
        """Ends that wait."""


class PollThread:
    """Waits for one thing: has the loop look when there is something, and goes on when it has looked."""

    def __init__(self, thing: Pollable, name: str) -> None:
        self._thing = thing
        self._name = name
        self._thread: threading.Thread | None = None
        self._over = threading.Event()
        self._looked = threading.Semaphore(0)

    def begin(self, loop: asyncio.AbstractEventLoop, look: Callable[[], None]) -> None:
        """Begins, on another loop than before if there was one. ``look`` is a bound method."""
        self.end()
        self._over, self._looked = threading.Event(), threading.Semaphore(0)
        # Weak, so that an owner that is forgotten without being closed can be collected.
        serve = _serve(self._thing, loop, weakref.WeakMethod(look), self._over, self._looked)
        self._thread = threading.Thread(target=serve, name=self._name, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Ends, if it has begun. The loop may have been closed."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._over.set()
            self._looked.release()
            self._thing.wake()
            # A collection of garbage may happen in any thread.
            if thread is not threading.current_thread():
                thread.join()


def _serve(
    thing: Pollable,
    loop: asyncio.AbstractEventLoop,
    look: weakref.WeakMethod[Callable[[], None]],
    over: threading.Event,
    looked: threading.Semaphore,
) -> Callable[[], None]:
    def turn() -> None:
        method = look()
        try:
            if method is not None and not over.is_set():
                method()
        finally:
            looked.release()

    def serve() -> None:
        while not over.is_set() and thing.wait(None) and not over.is_set():
            try:
                loop.call_soon_threadsafe(turn)
            except RuntimeError:  # the loop has been closed; what there is to look at is kept for the next one
                return
            looked.acquire()

    return serve
