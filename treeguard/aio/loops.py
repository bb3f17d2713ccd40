"""The manager that belongs to an event loop: made when it is first needed, ended with the loop."""

from __future__ import annotations

import asyncio
import sys
import threading
import weakref
from collections.abc import AsyncGenerator

from ..local import LocalProcessManager

__all__ = ["manager_of_loop"]

#: A time that no program lives for, in seconds.
_NEVER = 20 * 365 * 86400.0


class _LoopManager(LocalProcessManager):
    """It is nobody's to close, so that it is no fault that nobody did."""

    #: Lives as long as the manager: dropped earlier, it would be closed.
    until_shutdown: AsyncGenerator[None, None] | None = None

    def end(self) -> None:
        """Ends every tree at once, without the loop."""
        running = self._running
        self._closed = True
        if running is not None and not running.left and running.owned and not sys.is_finalizing():
            running.abandon()

    def __del__(self) -> None:
        self.end()


class _Lifeline:
    """Held by a timer of the loop alone. A loop that is closed, or dropped, lets go of its timers."""

    def __init__(self, manager: _LoopManager) -> None:
        self._manager = manager

    def __call__(self) -> None:
        pass

    def __del__(self) -> None:
        self._manager.end()


class _Entry:
    """What is known of one loop."""

    __slots__ = ("manager", "shut_down")

    def __init__(self) -> None:
        #: Weak: it holds the loop, which holds this.
        self.manager: weakref.ref[_LoopManager] | None = None
        #: Whether the loop has closed its asynchronous generators, and closes no more.
        self.shut_down = False


_entries: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Entry] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


async def manager_of_loop() -> LocalProcessManager:
    """The running loop's own manager.

    ``asyncio.run`` empties its trees when the main coroutine has ended and the other tasks were cancelled, together
    with asynchronous generators. A loop that is closed without that, or dropped, kills them in that moment.
    """
    loop = asyncio.get_running_loop()
    with _lock:
        entry = _entries.get(loop)
        if entry is None:
            entry = _entries[loop] = _Entry()
    manager = None if entry.manager is None else entry.manager()
    if manager is None or manager._closed:
        manager = _LoopManager()
        loop.call_later(_NEVER, _Lifeline(manager))
        if not entry.shut_down:
            manager.until_shutdown = _until_shutdown(weakref.ref(manager), entry)
            await anext(manager.until_shutdown)
        entry.manager = weakref.ref(manager)
    return manager


async def _until_shutdown(manager: weakref.ref[_LoopManager], entry: _Entry) -> AsyncGenerator[None, None]:
    """An asynchronous generator, which a loop closes before it ends."""
    try:
        yield
    finally:
        entry.shut_down = True
        ending = manager()
        if ending is not None:
            await ending.close()
