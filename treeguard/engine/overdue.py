"""Guards that don't do what they were told: woken, for they may have been stopped, and reported if that is in vain."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

__all__ = ["PATIENCE", "Overdue"]

#: So long, in seconds, a guard is waited for that was told to end its tree, or has said that it did.
PATIENCE = 1.0
#: How often, in seconds, those that something is expected of are woken.
_LOOK = 0.05
#: A guard that starts a tree may take as long as the exec does. One that was found stopped at so many looks in a row is
#: being stopped again and again.
_STOPS = 20


class _Guarded(Protocol):
    """A tree with a guard."""

    def wake(self) -> bool: ...


class _Expected:
    __slots__ = ("stops", "tree", "until")

    def __init__(self, tree: _Guarded, until: float | None) -> None:
        self.tree = tree
        self.until = until
        self.stops = 0


class Overdue:
    """Looks after those that something is expected of, with one timer for all.

    Any process of the same user may stop a guard, whenever it likes. Its own tree may, for one.
    """

    def __init__(self, late: Callable[[int], None], leaving: Callable[[], Iterable[tuple[int, _Guarded]]]) -> None:
        """``late`` is called with a tree that is waited for no longer.

        ``leaving`` tells of those whose guards have said their last word and have not ended.
        """
        self._late = late
        self._leaving = leaving
        self._trees: dict[int, _Expected] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Goes on, on another loop."""
        self.stop()
        self._loop = loop
        if self._trees:
            self.arm()

    def starting(self, tag: int, tree: _Guarded) -> None:
        """A tree is being started."""
        self._trees[tag] = _Expected(tree, None)
        self.arm()

    def ending(self, tag: int, tree: _Guarded) -> None:
        """A tree was told to end; how often does not matter."""
        expected = self._trees.get(tag)
        if self._loop is not None and (expected is None or expected.until is None):
            self._trees[tag] = _Expected(tree, self._loop.time() + PATIENCE)
            self.arm()

    def started(self, tag: int) -> None:
        """A tree has started."""
        expected = self._trees.get(tag)
        if expected is not None and expected.until is None:
            del self._trees[tag]

    def gone(self, tag: int) -> None:
        """Nothing is expected of a tree any more."""
        self._trees.pop(tag, None)

    def arm(self) -> None:
        """Looks in a moment."""
        if self._timer is None and self._loop is not None:
            self._timer = self._loop.call_later(_LOOK, self._look)

    def stop(self) -> None:
        """Looks no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        assert self._loop is not None
        for tag, tree in self._leaving():
            self.ending(tag, tree)
        now = self._loop.time()
        for tag, expected in list(self._trees.items()):
            expected.stops = expected.stops + 1 if expected.tree.wake() else 0
            if expected.stops >= _STOPS or (expected.until is not None and now >= expected.until):
                self.gone(tag)
                self._late(tag)
        if self._trees:
            self.arm()
