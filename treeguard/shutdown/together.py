"""Shuts down all trees of a manager: in parallel, children before parents, under one deadline."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from .._core.validation import optional_seconds
from .._core.waiting import run_to_completion
from ..types import ChildHandle, ProcessId
from .driver import shutdown_tree
from .ladder import Ladder, ShutdownReport, checked_ladder

if TYPE_CHECKING:
    from ..manager import ProcessManager

__all__ = ["LadderOf", "shutdown_trees"]

#: One ladder for all children, or a function that returns the ladder of each.
LadderOf = Ladder | Callable[[ChildHandle], Ladder]


async def shutdown_trees(
    manager: ProcessManager, ladder: LadderOf, *, deadline: float | None = None
) -> tuple[ShutdownReport, ...]:
    """Ends all trees: see :meth:`treeguard.ProcessManager.shutdown_all`."""
    limit = optional_seconds("deadline", deadline)
    end = asyncio.get_running_loop().time() + (math.inf if limit is None else limit)
    reports: list[ShutdownReport] = []
    errors: list[BaseException] = []
    seen: set[ProcessId] = set()
    # More children may be spawned meanwhile. Each one is handled only once, so that the loop ends.
    while children := [child for child in await manager.list_children() if child.pid not in seen]:
        seen.update(child.pid for child in children)
        errors += await _Round(manager, children, ladder, end, reports.append).run()
    if errors:
        raise errors[0]
    return tuple(reports)


class _Round:
    """The children that exist at one moment, each with a task that waits for the children below it."""

    def __init__(
        self,
        manager: ProcessManager,
        children: Sequence[ChildHandle],
        ladder: LadderOf,
        end: float,
        report: Callable[[ShutdownReport], None],
    ) -> None:
        self._manager = manager
        self._children = children
        self._ladders = {each.pid: checked_ladder(ladder(each) if callable(ladder) else ladder) for each in children}
        self._levels = _levels(children)
        self._end = end
        self._report = report

    async def run(self) -> list[BaseException]:
        """Ends the children. Returns the errors after all of them had their turn."""
        below: dict[ProcessId | None, list[asyncio.Task[None]]] = {}
        for child in sorted(self._children, key=lambda child: -self._levels[child.pid]):
            task = asyncio.ensure_future(self._end_one(child.pid, below.get(child.pid, ())))
            below.setdefault(child.parent, []).append(task)
        tasks = [task for family in below.values() for task in family]
        try:
            await asyncio.wait(tasks)
        except asyncio.CancelledError:
            await run_to_completion(self._kill(tasks))
            raise
        return [error for task in tasks if (error := task.exception()) is not None]

    async def _end_one(self, pid: ProcessId, below: Iterable[asyncio.Task[None]]) -> None:
        if below:
            await asyncio.wait(below)
        left = max(0.0, self._end - asyncio.get_running_loop().time())
        deadline = None if left == math.inf else left / self._levels[pid]
        self._report(await shutdown_tree(self._manager, pid, self._ladders[pid], deadline=deadline))

    async def _kill(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        """Kills all trees: those that are being shut down by cancelling their tasks, and then the others."""
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        roots = [pid for pid, level in self._levels.items() if level == 1]
        results = await asyncio.gather(*map(self._manager.kill_tree, roots), return_exceptions=True)
        for error in results:
            if error is not None:
                raise error


def _levels(children: Sequence[ChildHandle]) -> dict[ProcessId, int]:
    """Returns the length of each child's line of parents, including the child. Parents are spawned before children."""
    levels: dict[ProcessId, int] = {}
    for child in children:
        levels[child.pid] = 1 + (0 if child.parent is None else levels.get(child.parent, 0))
    return levels
