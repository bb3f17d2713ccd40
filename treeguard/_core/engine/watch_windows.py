"""How an event loop learns that an engine has events, on Windows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ..native_windows import NativePort
from ..poll_thread import PollThread
from .watch import Watch

__all__ = ["PortWatch"]


class PortWatch(Watch):
    """A completion port, watched by a thread because no loop can watch it."""

    def __init__(self, port: NativePort) -> None:
        self._port = port
        self._waiter = PollThread(port, "treeguard-port")

    def begin(self, loop: asyncio.AbstractEventLoop, process_events: Callable[[], None]) -> None:
        self._waiter.begin(loop, process_events)

    def end(self) -> None:
        self._waiter.end()

    def pause(self, seconds: float) -> None:
        self._port.wait(seconds)
