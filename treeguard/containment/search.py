"""Searching for what lost guards have left, beside the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ..worker import Worker
from .salvage import Remains

__all__ = ["Search"]

_PAUSE = 0.01


class Search:
    """Kills what is found of trees without a guard, look by look, until nothing is.

    A look is at all processes of the host: among thousands it takes longer than a loop, or a lease, may wait. So a
    thread looks, where one can be had.
    """

    def __init__(self, worker: Worker) -> None:
        """``worker`` is closed with it."""
        self._worker = worker
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, remains: Remains, over: Callable[[bool], None]) -> None:
        """Begins with one tree. ``over`` is called when it is ended; with whether that is proved."""
        task = asyncio.ensure_future(self._end(remains, over))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _end(self, remains: Remains, over: Callable[[bool], None]) -> None:
        while await self._kill(remains):  # noqa: ASYNC110 - nothing tells when they are gone
            await asyncio.sleep(_PAUSE)
        over(remains.provable)

    async def _kill(self, remains: Remains) -> bool:
        return await self._worker.run(remains.kill) if self._worker.begin() else remains.kill()

    def close(self) -> None:
        """Lets go of the thread."""
        self._worker.close()
