"""How an event loop learns that an engine has events."""

from __future__ import annotations

import asyncio
import sys
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .engine import Core

__all__ = ["Watch", "call_weakly", "watch_of"]


class Watch(ABC):
    """Calls ``process_events`` on a loop whenever an engine has events, until the watch ends."""

    @abstractmethod
    def begin(self, loop: asyncio.AbstractEventLoop, process_events: Callable[[], None]) -> None:
        """Begins, or moves from another loop. ``process_events`` is a bound method."""

    @abstractmethod
    def end(self) -> None:
        """Ends the watch if it has begun. The loop may be closed by now."""

    @abstractmethod
    def pause(self, seconds: float) -> None:
        """Waits a moment without a loop, after the end of the watch."""


def watch_of(core: Core) -> Watch:
    """The watch that suits an engine's core. A core without a descriptor is its own."""
    if isinstance(core, Watch):
        return core
    if sys.platform == "win32":
        from ..native_windows import NativePort
        from .watch_windows import PortWatch

        if isinstance(core, NativePort):
            return PortWatch(core)
    return _Descriptor(core)


class _Descriptor(Watch):
    """A descriptor, watched by the loop itself."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._loop: asyncio.AbstractEventLoop | None = None

    def begin(self, loop: asyncio.AbstractEventLoop, process_events: Callable[[], None]) -> None:
        if self._loop is not None and self._loop is not loop:
            self.end()
        self._loop = loop
        # The reference is weak, so that an engine that was dropped without being closed can be collected.
        loop.add_reader(self._core.fileno(), call_weakly, weakref.WeakMethod(process_events))

    def end(self) -> None:
        # Drop the loop last, so that this can be repeated after an exception.
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._core.fileno())
        self._loop = None

    def pause(self, seconds: float) -> None:
        time.sleep(seconds)


def call_weakly(method: weakref.WeakMethod[Callable[[], None]]) -> None:
    """Calls a method if its object still exists."""
    if (call := method()) is not None:
        call()
