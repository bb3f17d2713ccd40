"""All processes of the host, as the C core reads them from ``/proc``."""

from __future__ import annotations

from collections.abc import Iterator

from ..native_processes import Row, processes
from .process import ProcessInfo

__all__ = ["iter_pids", "snapshot"]


def snapshot() -> list[ProcessInfo | None]:
    """All processes at one moment, without their names. None stands for a process that was gone when it was read.

    The C core reads thousands in tens of milliseconds, while other threads run. Raises OSError.
    """
    return [None if row.state == "\0" else _seen_in(row) for row in processes()]


def _seen_in(row: Row) -> ProcessInfo:
    return ProcessInfo(row.pid, "", row.state, row.parent, row.group, row.session, row.started, row.reaped)


def iter_pids() -> Iterator[int]:
    """The numbers of all processes. Raises FileNotFoundError if ``/proc`` does not show them."""
    return (row.pid for row in processes())
