"""Searching for what lost guards have left, beside the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from ..worker import Worker
from .salvage import Lookout, Remains

__all__ = ["Search"]

_PAUSE = 0.01


class Search:
    """Kills what is found of trees without a guard, look by look, until nothing is.

    A look is at all processes of the host: among thousands it takes longer than a loop, or a lease, may wait. So a
    thread looks, where one can be had, and once for all trees.
    """

    def __init__(self) -> None:
        self._worker = Worker("treeguard-searcher")
        self._lookout = Lookout()
        self._sought: dict[Remains, Callable[[bool], None]] = {}
        self._task: asyncio.Task[None] | None = None

    def begin(self, remains: Remains, over: Callable[[bool], None]) -> None:
        """Begins with one tree. ``over`` is called when it is ended; with whether that is proved."""
        self._sought[remains] = over
        if self._task is None or self._task.done():
            self._task = asyncio.ensure_future(self._go_on())

    def forget(self) -> None:
        """The loop has ended that it was going on."""
        self._sought.clear()
        self._task = None

    async def _go_on(self) -> None:
        while every := list(self._sought):
            again = set(await self.look(every))
            for one in every:
                if one not in again:
                    self._sought.pop(one)(one.provable)
            await asyncio.sleep(_PAUSE)

    async def look(self, every: Sequence[Remains]) -> list[Remains]:
        """One look for all of them. Those for which to look again."""
        if self._worker.begin():
            return await self._worker.run(lambda: self._lookout.look(every))
        return self._lookout.look(every)

    def close(self) -> None:
        """Lets go of the thread."""
        self._worker.close()
