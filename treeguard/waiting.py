"""Waiting that must be finished, whoever cancels meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

__all__ = ["aside", "checked_timeout", "uncancelled"]

T = TypeVar("T")


async def uncancelled(work: Coroutine[Any, Any, T]) -> T:
    """Runs ``work`` to its end. A cancellation that arrives meanwhile is raised afterwards, from an error of it."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as e:
            cancelled = e
    if cancelled is not None:
        raise cancelled from (None if task.cancelled() else task.exception())
    return task.result()


async def aside(work: Callable[[], T]) -> T:
    """Does what takes milliseconds in a thread of the loop's executor."""
    return await asyncio.get_running_loop().run_in_executor(None, work)


def checked_timeout(name: str, value: float | None) -> float | None:
    """A number of seconds that can be waited, or None. Raises ValueError or TypeError that names the argument."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number of seconds, not {value!r}")
    if not value >= 0:
        raise ValueError(f"{name} must not be negative, not {value!r}")
    return value
