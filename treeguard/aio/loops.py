"""The manager that belongs to an event loop: made when it is first needed, ended with the loop."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import weakref
from collections.abc import Callable
from typing import TypeAlias

from .._core.validation import instance
from ..local import LocalProcessManager
from ..types import ContainmentName

__all__ = ["manager_for", "manager_of_loop", "replace_managers"]

#: What has a manager for each loop.
Source = Callable[[asyncio.AbstractEventLoop], LocalProcessManager]

#: A time that no program lives for, in seconds.
_NEVER = 20 * 365 * 86400.0


class _LoopManager(LocalProcessManager):
    """It is nobody's to close, so that it is no fault that nobody did."""

    def end(self) -> None:
        """Ends every tree at once, without the loop."""
        running = getattr(self, "_running", None)  # it may have been refused
        self._closed = True
        if running is not None and not running.left and running.owned and not sys.is_finalizing():
            running.abandon()

    def __del__(self) -> None:
        self.end()


class _Lifeline:
    """Held by a timer of the loop alone. A loop that is closed, or collected, lets go of its timers.

    No other event of a loop's end can be had on every loop. Asynchronous generators are closed a little earlier, all
    at once, so that those of the application could not yet end their trees in their own way.
    """

    def __init__(self, manager: _LoopManager) -> None:
        self._manager = manager

    def __call__(self) -> None:
        pass

    def __del__(self) -> None:
        self._manager.end()


#: The managers of one loop, by what they were asked for.
_OfLoop: TypeAlias = dict[ContainmentName, "weakref.ref[_LoopManager]"]
#: Weak on both sides: a manager holds its loop, and the loop its managers' lifelines.
_managers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _OfLoop] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def _after_fork() -> None:
    global _lock  # noqa: PLW0603 - a new one, since the old one may be held for ever
    _lock = threading.Lock()


# Another thread may have held the lock at the fork, and does not exist in the copy.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

_replacement: Source | None = None


def replace_managers(source: Source | None) -> Source | None:
    """From now on :func:`manager_of_loop` returns what ``source`` does: for tests. None ends that.

    Returns what was set before.
    """
    global _replacement
    before, _replacement = _replacement, source
    return before


def manager_for(manager: LocalProcessManager | None, containment: ContainmentName) -> LocalProcessManager:
    """The manager that was given, or else the running loop's own one for a mechanism."""
    if manager is None:
        return manager_of_loop(containment)
    instance("manager", manager, LocalProcessManager, "a LocalProcessManager or None")
    if containment != "auto":
        raise ValueError(f"containment must be 'auto' beside a manager, which has its own, not {containment!r}")
    return manager


def manager_of_loop(containment: ContainmentName = "auto") -> LocalProcessManager:
    """The running loop's own manager for that mechanism.

    Its trees are killed when the loop is closed, as ``asyncio.run`` does at its end. A loop that is collected without
    having been closed kills them too; uvloop's are never collected then.
    """
    loop = asyncio.get_running_loop()
    if _replacement is not None:
        return _replacement(loop)
    with _lock:
        managers = _managers.setdefault(loop, {})
        known = managers.get(containment)
        manager = None if known is None else known()
        if manager is None or manager._closed:
            manager = _LoopManager(containment=containment)
            loop.call_later(_NEVER, _Lifeline(manager))
            managers[containment] = weakref.ref(manager)
    return manager
