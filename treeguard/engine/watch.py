"""How an event loop learns that an engine has something to tell."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

from .._native_windows import NativePort
from ..waiter import Waiter

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
        loop.add_reader(self._core.fileno(), pump)
        self._loop = loop

    def end(self) -> None:
        loop, self._loop = self._loop, None
        if loop is not None and not loop.is_closed():
            loop.remove_reader(self._core.fileno())

    def pause(self, seconds: float) -> None:
        time.sleep(seconds)


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
