"""How an event loop learns that an engine has something to tell."""

from __future__ import annotations

import asyncio
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

from .._native_windows import NativePort
from ..waiter import Waiter

__all__ = ["Readable", "Watch", "call_weakly", "watch_of"]


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
        if self._loop is not None and self._loop is not loop:
            self.end()
        self._loop = loop
        # Weak, so that an engine that is forgotten without being closed can be collected.
        loop.add_reader(self._core.fileno(), call_weakly, weakref.WeakMethod(pump))

    def end(self) -> None:
        # Again after an exception: the loop is let go of last.
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._core.fileno())
        self._loop = None

    def pause(self, seconds: float) -> None:
        time.sleep(seconds)


def call_weakly(method: weakref.WeakMethod[Callable[[], None]]) -> None:
    """Calls it, if its object is still there."""
    call = method()
    if call is not None:
        call()


class _Waiting(Watch):
    """A completion port, which no loop watches."""

    def __init__(self, port: NativePort) -> None:
        self._port = port
        self._waiter = Waiter(port, "treeguard-port")

    def begin(self, loop: asyncio.AbstractEventLoop, pump: Callable[[], None]) -> None:
        self._waiter.begin(loop, pump)

    def end(self) -> None:
        self._waiter.end()

    def pause(self, seconds: float) -> None:
        self._port.wait(seconds)
