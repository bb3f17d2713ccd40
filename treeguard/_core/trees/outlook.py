"""Waits for what becomes of a root. Loaded when somebody waits for that, and not for the tree."""

from __future__ import annotations

from ...errors import TreeNotEmpty
from ...types import ProcessId, RootExit, TreeState
from .record import TreeRecord
from .registry import TreeRegistry

__all__ = ["next_state", "root_exit"]


async def root_exit(record: TreeRecord, timeout: float | None) -> RootExit | None:
    """How the root ended, once it has; None: it has not, in time."""
    if not await record.until(lambda: record.exit is not None or record.empty, timeout):
        return None
    if record.exit is None and record.unverified and not record.lost:
        raise record.error or TreeNotEmpty(f"{record.pid} was not empty when its manager was closed")
    return record.exit or RootExit()


async def next_state(trees: TreeRegistry, pid: ProcessId, seen: TreeState | None) -> TreeState:
    """What is known of a tree, once that is not what was ``seen`` last."""
    record = trees.remembered(pid)
    if record is None:
        return TreeState(0, empty=trees.forgotten(pid) is None)
    while (state := record.state) == seen and not record.empty:
        await record._waiters.wait()
    return state
