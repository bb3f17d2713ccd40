"""A thread that waits for an object that no event loop can watch, and makes a loop look. Works with any loop."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio

__all__ = ["PollThread", "Pollable"]


class Pollable(Protocol):
    """An object that a thread can wait for."""

    def wait(self, timeout: float | None) -> bool:
        """Waits until there is something to look at, or :meth:`wake` is called."""
        ...

    def wake(self) -> None:
        """Ends that wait."""


class PollThread:
    """Waits for one object. Makes the loop look when there is something, and waits on after the loop has looked."""

    def __init__(self, thing: Pollable, name: str) -> None:
        self._thing = thing
        self._name = name
        self._thread: threading.Thread | None = None
        self._over = threading.Event()
        self._looked = threading.Semaphore(0)

    def begin(self, loop: asyncio.AbstractEventLoop, look: Callable[[], None]) -> None:
        """Begins, or moves from another loop. ``look`` is a bound method."""
        self.end()
        self._over, self._looked = threading.Event(), threading.Semaphore(0)
        # The reference is weak, so that an owner that was dropped without being closed can be collected.
        serve = _serve(self._thing, loop, weakref.WeakMethod(look), self._over, self._looked)
        self._thread = threading.Thread(target=serve, name=self._name, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Ends the thread if it has begun. The loop may be closed by now."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._over.set()
            self._looked.release()
            self._thing.wake()
            # Garbage collection may call this in any thread, including the one that would be joined.
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
            except RuntimeError:  # the loop is closed; the next loop will look at what is left
                return
            looked.acquire()

    return serve
