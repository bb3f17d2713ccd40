"""Cancelling a coroutine at each of its awaits, one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any

from .patience import PATIENCE

__all__ = ["cancelled_at"]


class _Stepped(Coroutine[Any, Any, None]):
    """A coroutine that calls back once it has been suspended ``count`` times."""

    def __init__(self, work: Coroutine[Any, Any, Any], count: int, suspended: Callable[[], object]) -> None:
        self._work = work
        self._count = count
        self._suspended = suspended

    def send(self, value: Any) -> Any:
        waits = self._work.send(value)
        self._count -= 1
        if self._count == 0:
            self._suspended()
        return waits

    def throw(self, *error: Any) -> Any:
        return self._work.throw(*error)

    def close(self) -> None:
        self._work.close()

    def __await__(self) -> Generator[Any, Any, None]:
        raise NotImplementedError


async def cancelled_at(
    count: int, work: Coroutine[Any, Any, Any], *, again: bool = False, patience: float = PATIENCE
) -> bool:
    """Cancels ``work`` when it waits for the time of that number; 0: before it has begun. Whether it came to that.

    ``again``: also in each turn of the loop after that. If it does not come to that within ``patience`` seconds, it is
    cancelled where it is. What ``work`` raises otherwise is raised.
    """
    loop = asyncio.get_running_loop()
    reached = loop.create_future()
    task: asyncio.Task[None] = loop.create_task(_Stepped(work, count, partial(reached.set_result, None)))
    if count:
        await asyncio.wait({task, reached}, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
    came_to_that = not task.done() and (reached.done() or not count)
    while not task.done():
        task.cancel()
        await (asyncio.sleep(0) if again else asyncio.wait({task}))
    try:
        await task
    except asyncio.CancelledError:
        return came_to_that
    assert not came_to_that, "the cancellation did not arrive"
    return False
