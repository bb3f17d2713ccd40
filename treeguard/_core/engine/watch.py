"""How an event loop learns that an engine has something to tell."""

from __future__ import annotations

import asyncio
import sys
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

__all__ = ["Readable", "Watch", "call_weakly", "watch_of"]


class Readable(Protocol):
    """What has a descriptor."""

    def fileno(self) -> int: ...


class Watch(ABC):
    """Calls ``pump`` on a loop whenever an engine has something to tell, until it is ended."""

    @abstractmethod
    def begin(self, loop: asyncio.AbstractEventLoop, process_events: Callable[[], None]) -> None:
        """Begins, on another loop than before if there was one. ``pump`` is a bound method."""

    @abstractmethod
    def end(self) -> None:
        """Ends, if it has begun. The loop may have been closed."""

    @abstractmethod
    def pause(self, seconds: float) -> None:
        """Lets a moment pass without a loop, after the end."""


def watch_of(core: Readable) -> Watch:
    """What suits an engine's core."""
    if sys.platform == "win32":
        from ..native_windows import NativePort  # noqa: PLC0415 - other systems have none
        from .watch_windows import PortWatch  # noqa: PLC0415

        if isinstance(core, NativePort):
            return PortWatch(core)
    return _Descriptor(core)


class _Descriptor(Watch):
    """A descriptor, among the loop's own."""

    def __init__(self, core: Readable) -> None:
        self._core = core
        self._loop: asyncio.AbstractEventLoop | None = None

    def begin(self, loop: asyncio.AbstractEventLoop, process_events: Callable[[], None]) -> None:
        if self._loop is not None and self._loop is not loop:
            self.end()
        self._loop = loop
        # Weak, so that an engine that is forgotten without being closed can be collected.
        loop.add_reader(self._core.fileno(), call_weakly, weakref.WeakMethod(process_events))

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
