"""Waking guards that do not obey, since they may have been stopped, and reporting those that stay overdue."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Iterable
from typing import Protocol

from .watch import call_weakly

__all__ = ["LAST_PATIENCE", "PATIENCE", "Overdue"]

#: How many seconds a guard may take to end its tree after it was told to. It usually takes milliseconds, and seconds
#: for thousands of trees at once on a slow host.
PATIENCE = 5.0
#: How many seconds a guard may take to end after it has reported its tree empty. It has nothing else left to do.
LAST_PATIENCE = 1.0
#: The pause between rounds of waking overdue guards, in seconds, and how many are woken per round, as the loop waits.
_LOOK = 0.05
_AT_ONCE = 64
#: A guard that was stopped at this many looks in a row is being stopped again and again, so the wait for it ends. A
#: stopped guard reaps nothing: a tree that forks as fast as it can fills the process table with its dead in seconds.
_STOPS = 4
#: The number of looks between two checks whether a freezer holds the guard. No signal continues it then.
_FROZEN_LOOKS = 20


class _Guarded(Protocol):
    """A tree with a guard."""

    @property
    def pid(self) -> int: ...
    def wake(self) -> bool: ...


class Overdue:
    """Watches guards that owe something, with one timer for all of them.

    Any process of the same user may stop a guard at any time, and that includes its own tree.
    """

    def __init__(
        self,
        late: Callable[[int], None],
        leaving: Callable[[], Iterable[tuple[int, _Guarded]]],
        frozen: Callable[[int], bool],
    ) -> None:
        """Calls ``late`` with a tree whose guard it no longer waits for.

        ``leaving`` returns the trees whose guards have sent their last message and have not ended. ``frozen`` returns
        whether a freezer holds a process.
        """
        self._late = late
        self._leaving = leaving
        self._frozen = frozen
        self._starting: dict[int, _Guarded] = {}
        self._ending: dict[int, tuple[_Guarded, float]] = {}
        #: How often each guard was looked at, and at how many looks in a row it was stopped.
        self._looks: dict[int, int] = {}
        self._stops: dict[int, int] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Continues on another loop."""
        self.stop()
        self._loop = loop
        self.arm()

    def starting(self, tag: int, tree: _Guarded) -> None:
        """Begins to watch a tree that is being started."""
        self._starting[tag] = tree
        if self._timer is None:
            self.arm()

    def started(self, tag: int) -> None:
        """Records that a tree has started."""
        if tag in self._starting:
            del self._starting[tag]
            if tag in self._looks and tag not in self._ending:
                del self._looks[tag], self._stops[tag]

    def ending(self, tag: int, tree: _Guarded, patience: float = PATIENCE) -> None:
        """Records that a tree was told to end, or is about to be. A later call can only shorten the time left."""
        if self._loop is None:
            return
        until = self._loop.time() + patience
        if tag not in self._ending or until < self._ending[tag][1]:
            self._ending[tag] = (tree, until)
        if self._timer is None:
            self.arm()

    def gone(self, tag: int) -> None:
        """Stops watching a tree."""
        for expected in (self._starting, self._ending, self._looks, self._stops):
            if tag in expected:
                del expected[tag]

    def arm(self) -> None:
        """Schedules the next look."""
        if self._timer is None and self._loop is not None:
            # The reference is weak, so that a manager that was dropped without being closed can be collected.
            self._timer = self._loop.call_later(_LOOK, call_weakly, weakref.WeakMethod(self._look))

    def stop(self) -> None:
        """Stops looking."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        try:
            self._look_at_each()
        except BaseException:
            self.arm()
            raise

    def _look_at_each(self) -> None:
        assert self._loop is not None
        for tag, tree in self._leaving():
            self.ending(tag, tree, LAST_PATIENCE)
        now = self._loop.time()
        late = [tag for tag, (_, until) in self._ending.items() if now >= until]
        late += [tag for tag in self._wake_some() if tag not in late]
        for tag in late:
            # Report it before forgetting it: an exception may come in between.
            self._late(tag)
            self.gone(tag)
        if self._starting or self._ending:
            self.arm()

    def _wake_some(self) -> list[int]:
        """Wakes some guards. Returns the trees whose guards were stopped too often, or are frozen."""
        trees = self._starting | {tag: tree for tag, (tree, _) in self._ending.items()}
        waited = sorted(trees, key=lambda tag: self._looks.get(tag, 0))[:_AT_ONCE]
        for tag in waited:
            self._looks[tag] = self._looks.get(tag, 0) + 1
            self._stops[tag] = self._stops.get(tag, 0) + 1 if trees[tag].wake() else 0
        return [tag for tag in waited if self._stops[tag] >= _STOPS or self._stands_still(tag, trees[tag])]

    def _stands_still(self, tag: int, tree: _Guarded) -> bool:
        return self._looks[tag] % _FROZEN_LOOKS == 0 and self._frozen(tree.pid)
