"""Waking guards that do not obey, since they may have been stopped, and reporting those that stay overdue."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Collection, Iterable, Mapping
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
        trees: Mapping[int, _Guarded],
        unstarted: Collection[int],
        leaving: Callable[[], Iterable[int]],
        frozen: Callable[[int], bool],
    ) -> None:
        """Calls ``late`` with a tree whose guard it no longer waits for.

        It looks into ``trees`` at each look, and at which of them are ``unstarted``, so that a tree need not be
        reported to it. ``leaving`` returns the trees whose guards have sent their last message and have not ended.
        ``frozen`` returns whether a freezer holds a process.
        """
        self._late = late
        self._trees = trees
        self._unstarted = unstarted
        self._leaving = leaving
        self._frozen = frozen
        #: The time until which each tree may take to end.
        self._ending: dict[int, float] = {}
        #: Trees whose start is not waited for any more.
        self._given_up: set[int] = set()
        #: How often each guard was looked at, and at how many looks in a row it was stopped.
        self._looks: dict[int, tuple[int, int]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        #: Whether the next look is scheduled.
        self.armed = False

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Continues on another loop."""
        self.stop()
        self._loop = loop
        self.arm()

    def ending(self, tag: int, patience: float = PATIENCE) -> None:
        """Records that a tree was told to end, or is about to be. A later call can only shorten the time left."""
        if self._loop is None:
            return
        until = self._loop.time() + patience
        self._ending[tag] = min(until, self._ending.get(tag, until))
        self.arm()

    def arm(self) -> None:
        """Schedules the next look. Needed once when there is something to watch."""
        if not self.armed and self._loop is not None:
            # The reference is weak, so that a manager that was dropped without being closed can be collected.
            self._timer = self._loop.call_later(_LOOK, call_weakly, weakref.WeakMethod(self._look))
            self.armed = True

    def stop(self) -> None:
        """Stops looking."""
        self.armed = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self.stop()
        try:
            self._look_at_each()
        except BaseException:
            self.arm()
            raise

    def _look_at_each(self) -> None:
        assert self._loop is not None
        self._forget_others()
        for tag in self._leaving():
            self.ending(tag, LAST_PATIENCE)
        now = self._loop.time()
        late = [tag for tag, until in list(self._ending.items()) if now >= until]
        late += [tag for tag in self._wake_some() if tag not in late]
        for tag in late:
            # Report it before forgetting it: an exception may come in between.
            self._late(tag)
            self._given_up.add(tag)
            self._ending.pop(tag, None)
        if self._owing():
            self.arm()

    def _owing(self) -> set[int]:
        return set(self._unstarted).difference(self._given_up).union(self._ending).intersection(self._trees)

    def _forget_others(self) -> None:
        """Forgets trees that are gone, and the counts of those that owe nothing any more."""
        for tag in set(self._ending).difference(self._trees):
            self._ending.pop(tag, None)
        self._given_up.intersection_update(self._trees)
        for tag in set(self._looks).difference(self._owing()):
            self._looks.pop(tag, None)

    def _wake_some(self) -> list[int]:
        """Wakes some guards. Returns the trees whose guards were stopped too often, or are frozen."""
        late = []
        for tag in sorted(self._owing(), key=lambda tag: self._looks.get(tag, (0, 0)))[:_AT_ONCE]:
            looks, stops = self._looks.get(tag, (0, 0))
            # A signal handler may have heard of its end meanwhile.
            if (tree := self._trees.get(tag)) is not None:
                looks, stops = self._looks[tag] = looks + 1, stops + 1 if tree.wake() else 0
                if stops >= _STOPS or (looks % _FROZEN_LOOKS == 0 and self._frozen(tree.pid)):
                    late.append(tag)
        return late
