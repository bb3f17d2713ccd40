"""How an event loop learns that an engine has something to tell."""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

from ._native import NativePort

__all__ = ["Readable", "Watch", "watch_of"]


class Readable(Protocol):
    """What has a descriptor."""

    def fileno(self) -> int: ...  # noqa: D102


class Watch(ABC):
    """Calls ``pump`` on a loop whenever an engine has something to tell, until it is ended."""

    @abstractmethod
    def begin(self, loop: asyncio.AbstractEventLoop, pump: Callable[[], None]) -> None:
        """Begins, on another loop than before if there was one. ``pump`` is a bound method."""

    @abstractmethod
    def end(self) -> None:
        """Ends, if it has begun. The loop may have been closed."""

    @abstractmethod
    def pause(self, seconds: float) -> None:
        """Lets a moment pass without a loop, after the end."""


def watch_of(core: Readable) -> Watch:
    """What suits an engine's core."""
    return _Waiting(core) if isinstance(core, NativePort) else _Descriptor(core)


class _Descriptor(Watch):
    """A descriptor, among the loop's own."""

    def __init__(self, core: Readable) -> None:
        self._core = core
        self._loop: asyncio.AbstractEventLoop | None = None

    def begin(self, loop: asyncio.AbstractEventLoop, pump: Callable[[], None]) -> None:
        self._loop = loop
        loop.add_reader(self._core.fileno(), pump)

    def end(self) -> None:
        loop, self._loop = self._loop, None
        if loop is not None and not loop.is_closed():
            loop.remove_reader(self._core.fileno())

    def pause(self, seconds: float) -> None:
        time.sleep(seconds)


class _Waiting(Watch):
    """A completion port, which no loop watches: a thread waits for it, for any kind of loop.

    The thread takes a batch, has the loop look, and goes on when it has looked.
    """

    def __init__(self, port: NativePort) -> None:
        self._port = port
        self._thread: threading.Thread | None = None
        self._over = threading.Event()
        self._looked = threading.Semaphore(0)

    def begin(self, loop: asyncio.AbstractEventLoop, pump: Callable[[], None]) -> None:
        self.end()
        self._over, self._looked = threading.Event(), threading.Semaphore(0)
        # Weak, so that an owner that is forgotten without being closed can be collected.
        serve = _serve(self._port, loop, weakref.WeakMethod(pump), self._over, self._looked)
        self._thread = threading.Thread(target=serve, name="treeguard-port", daemon=True)
        self._thread.start()

    def end(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            self._over.set()
            self._looked.release()
            self._port.wake()
            # A collection of garbage may happen in any thread.
            if thread is not threading.current_thread():
                thread.join()

    def pause(self, seconds: float) -> None:
        self._port.wait(seconds)


def _serve(
    port: NativePort,
    loop: asyncio.AbstractEventLoop,
    pump: weakref.WeakMethod[Callable[[], None]],
    over: threading.Event,
    looked: threading.Semaphore,
) -> Callable[[], None]:
    def look() -> None:
        method = pump()
        if method is not None and not over.is_set():
            method()
        looked.release()

    def serve() -> None:
        while not over.is_set() and port.wait(None) and not over.is_set():
            try:
                loop.call_soon_threadsafe(look)
            except RuntimeError:  # the loop has been closed; what was taken is kept for the next one
                return
            looked.acquire()

    return serve
