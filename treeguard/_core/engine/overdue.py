"""Guards that don't do what they were told: woken, for they may have been stopped, and reported if that is in vain."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Iterable
from typing import Protocol

from .watch import call_weakly

__all__ = ["LAST_PATIENCE", "PATIENCE", "Overdue"]

#: So long, in seconds, a guard is waited for that was told to end its tree. It takes milliseconds; thousands at once,
#: on a slow host, take seconds.
PATIENCE = 5.0
#: And one that has said that its tree is empty: it has nothing left to do but to end.
LAST_PATIENCE = 1.0
#: How often, in seconds, guards that something is expected of are woken; and how many at a time: the loop waits.
_LOOK = 0.05
_AT_ONCE = 64
#: One that was found stopped at so many looks in a row is being stopped on and on: it is not waited for any longer. Nor
#: is one that a freezer holds then: nothing that may be sent to it lets it go on.
_STOPS = 20


class _Guarded(Protocol):
    """A tree with a guard."""

    @property
    def pid(self) -> int: ...
    def wake(self) -> bool: ...


class Overdue:
    """Looks after those that something is expected of, with one timer for all.

    Any process of the same user may stop a guard, whenever it likes. Its own tree may, for one.
    """

    def __init__(
        self,
        late: Callable[[int], None],
        leaving: Callable[[], Iterable[tuple[int, _Guarded]]],
        frozen: Callable[[int], bool],
    ) -> None:
        """``late`` is called with a tree that is waited for no longer.

        ``leaving`` tells of those whose guards have said their last word and have not ended; ``frozen`` whether a
        freezer holds a process.
        """
        self._late = late
        self._leaving = leaving
        self._frozen = frozen
        self._starting: dict[int, _Guarded] = {}
        self._ending: dict[int, tuple[_Guarded, float]] = {}
        #: How often a guard was looked at, and at how many looks in a row it was found stopped.
        self._looks: dict[int, int] = {}
        self._stops: dict[int, int] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Goes on, on another loop."""
        self.stop()
        self._loop = loop
        self.arm()

    def starting(self, tag: int, tree: _Guarded) -> None:
        """A tree is being started."""
        self._starting[tag] = tree
        if self._timer is None:
            self.arm()

    def started(self, tag: int) -> None:
        """A tree has started."""
        if tag in self._starting:
            del self._starting[tag]
            if tag in self._looks and tag not in self._ending:
                del self._looks[tag], self._stops[tag]

    def ending(self, tag: int, tree: _Guarded, patience: float = PATIENCE) -> None:
        """A tree was told to end, or is about to. The first time counts, but for one that leaves less of it."""
        if self._loop is None:
            return
        until = self._loop.time() + patience
        if tag not in self._ending or until < self._ending[tag][1]:
            self._ending[tag] = (tree, until)
        if self._timer is None:
            self.arm()

    def gone(self, tag: int) -> None:
        """Nothing is expected of a tree any more."""
        for expected in (self._starting, self._ending, self._looks, self._stops):
            if tag in expected:
                del expected[tag]

    def arm(self) -> None:
        """Looks in a moment."""
        if self._timer is None and self._loop is not None:
            # Weak, so that a manager that is forgotten without being closed can be collected.
            self._timer = self._loop.call_later(_LOOK, call_weakly, weakref.WeakMethod(self._look))

    def stop(self) -> None:
        """Looks no more."""
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
            # Told before it is forgotten: an exception may come in between.
            self._late(tag)
            self.gone(tag)
        if self._starting or self._ending:
            self.arm()

    def _wake_some(self) -> list[int]:
        """Those that were stopped too often, or that are frozen."""
        trees = self._starting | {tag: tree for tag, (tree, _) in self._ending.items()}
        waited = sorted(trees, key=lambda tag: self._looks.get(tag, 0))[:_AT_ONCE]
        for tag in waited:
            self._looks[tag] = self._looks.get(tag, 0) + 1
            self._stops[tag] = self._stops.get(tag, 0) + 1 if trees[tag].wake() else 0
        return [tag for tag in waited if self._stops[tag] >= _STOPS or self._stands_still(tag, trees[tag])]

    def _stands_still(self, tag: int, tree: _Guarded) -> bool:
        return self._looks[tag] % _STOPS == 0 and self._frozen(tree.pid)
