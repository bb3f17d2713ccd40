"""Guards that have something to do: which are woken, and which are reported as late."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from treeguard._core.engine import overdue
from treeguard._core.engine.overdue import LAST_PATIENCE, PATIENCE, Overdue

from ..property.virtual_clock import run


class Guard:
    """One that is stopped as long as a test says so."""

    def __init__(self, *, stopped: bool = False, pid: int = 1) -> None:
        self.stopped = stopped
        self.pid = pid
        self.woken = 0

    def wake(self) -> bool:
        """Counts."""
        self.woken += 1
        return self.stopped


class Watched:
    """What is told of those that are late, and when."""

    def __init__(self) -> None:
        self.trees: dict[int, Guard] = {}
        self.unstarted: set[int] = set()
        self.leaving: set[int] = set()
        self.told: dict[int, float] = {}
        self.frozen: set[int] = set()
        self.overdue = Overdue(self._late, self.trees, self.unstarted, lambda: self.leaving, self.frozen.__contains__)
        self.overdue.bind(asyncio.get_running_loop())
        self._began = asyncio.get_running_loop().time()

    def _late(self, tag: int) -> None:
        assert tag not in self.told
        self.told[tag] = asyncio.get_running_loop().time() - self._began
        self.leaving.discard(tag)

    def starting(self, tag: int, guard: Guard) -> None:
        """As an engine does it."""
        self.trees[tag] = guard
        self.unstarted.add(tag)
        self.overdue.arm()


def test_nobody_is_late_who_comes_in_time() -> None:
    """What came in time is looked at no more, and no timer is left."""

    async def live() -> None:
        watched, guard = Watched(), Guard()
        watched.starting(1, guard)
        watched.unstarted.discard(1)
        watched.overdue.ending(1)
        await asyncio.sleep(PATIENCE / 2)
        del watched.trees[1]
        woken = guard.woken
        assert woken
        await asyncio.sleep(PATIENCE * 2)
        assert guard.woken == woken
        assert not watched.told

    run(live())


@pytest.mark.parametrize(
    ("stopped", "seconds"), [(True, overdue._LOOK * overdue._STOPS), (False, PATIENCE)], ids=["stopped", "deaf"]
)
def test_guard_that_does_not_end_its_tree_is_late(stopped: bool, seconds: float) -> None:
    """One that is stopped on and on is given up early."""

    async def live() -> None:
        watched = Watched()
        watched.trees[1] = Guard(stopped=stopped)
        watched.overdue.ending(1)
        await asyncio.sleep(PATIENCE * 2)
        assert watched.told == {1: pytest.approx(seconds, abs=2 * overdue._LOOK)}

    run(live())


@pytest.mark.parametrize("stopped", [True, False])
def test_start_takes_as_long_as_it_takes(stopped: bool) -> None:
    """Only one whose guard is stopped again and again is late."""

    async def live() -> None:
        watched = Watched()
        watched.starting(1, Guard(stopped=stopped))
        await asyncio.sleep(100 * PATIENCE)
        assert bool(watched.told) == stopped

    run(live())


def test_frozen_guard_of_a_start_is_late() -> None:
    """However long it is frozen before that."""

    async def live() -> None:
        watched = Watched()
        watched.starting(1, Guard(pid=7))
        await asyncio.sleep(3 * PATIENCE)
        assert not watched.told
        watched.frozen.add(7)
        await asyncio.sleep(overdue._LOOK * (overdue._FROZEN_LOOKS + 2))
        assert watched.told

    run(live())


def test_guard_that_stays_after_its_last_word_is_late() -> None:
    """Nobody told it to end: it is found among those that are leaving."""

    async def live() -> None:
        watched = Watched()
        watched.trees[1] = Guard()
        watched.leaving.add(1)
        watched.overdue.arm()
        await asyncio.sleep(PATIENCE)
        assert watched.told == {1: pytest.approx(LAST_PATIENCE, abs=2 * overdue._LOOK)}

    run(live())


def test_thousands_are_woken_some_at_a_time() -> None:
    """Each has its turn, and no look takes long."""

    async def live() -> None:
        watched, guards = Watched(), [Guard() for _ in range(1000)]
        for tag, guard in enumerate(guards):
            watched.starting(tag, guard)
        looks = 0

        def counts() -> Iterator[int]:
            return (guard.woken for guard in guards)

        while not all(counts()):
            before = sum(counts())
            await asyncio.sleep(overdue._LOOK)
            assert sum(counts()) - before <= 2 * overdue._AT_ONCE
            looks += 1
        assert looks < 40
        watched.trees.clear()

    run(live())
