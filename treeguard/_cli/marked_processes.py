"""The live processes as the system itself shows them, without relying on any other report.

A *marker*, a word among its arguments, identifies a process. An escapee can shed its parent, session and environment,
but not the marker.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Sequence

if sys.platform == "win32":
    from .process_view_windows import WHERE, ProcessInfo, carries, get_process, has_escaped, iter_pids, kill_if
else:
    from .process_view import WHERE, ProcessInfo, carries, get_process, has_escaped, iter_pids, kill_if

__all__ = [
    "WHERE",
    "ProcessInfo",
    "StagingError",
    "blindness",
    "cast",
    "clean",
    "end",
    "exists",
    "get_process",
    "gone",
    "has_escaped",
    "kill_if",
    "left",
    "living",
]

#: How many seconds the kernel may take to carry out SIGKILL on a busy host.
_END_PATIENCE = 2.0


class StagingError(Exception):
    """The processes that were expected did not appear."""


def blindness() -> str | None:
    """Why this system's processes cannot be seen; None if this process can be seen."""
    try:
        seen = get_process(os.getpid()) if any(pid == os.getpid() for pid in iter_pids()) else None
    except OSError as error:
        return f"{WHERE} does not show the processes of this system: {error.strerror}"
    return None if seen and seen.alive else f"{WHERE} does not show this process"


def living(marker: str) -> list[ProcessInfo]:
    """The live processes with that marker, in the order in which they were started."""
    found = [seen for pid in iter_pids() if carries(pid, marker) and (seen := get_process(pid)) and seen.alive]
    return sorted(found, key=lambda seen: (seen.started, seen.pid))


def exists(seen: ProcessInfo, *, unreaped: bool = False) -> bool:
    """Whether exactly this process is still alive, or, with ``unreaped``, at least not reaped yet."""
    now = get_process(seen.pid)
    return now is not None and now.started == seen.started and (unreaped or now.alive)


def left(marker: str, members: Sequence[ProcessInfo], *, unreaped: bool = False) -> list[ProcessInfo]:
    """The live processes with the marker and, with ``unreaped``, those of ``members`` that are not reaped yet."""
    found = {seen.pid: seen for seen in members if unreaped and exists(seen, unreaped=True)}
    return list((found | {seen.pid: seen for seen in living(marker)}).values())


async def cast(
    marker: str, names: Sequence[str], ended: Callable[[], bool], *, patience: float = 10.0
) -> list[ProcessInfo]:
    """Waits until exactly the processes of these names live, and those named ``stopped`` are stopped.

    ``ended`` returns whether no more processes can appear.
    """
    wanted = sorted(names)
    deadline = time.monotonic() + patience
    while True:
        over = time.monotonic() > deadline or ended()
        seen = living(marker)
        if sorted(each.name for each in seen) == wanted and all(
            each.stopped for each in seen if each.name == "stopped"
        ):
            return seen
        if over:
            came = ", ".join(each.name for each in seen) or "none of them"
            raise StagingError(f"waited for {', '.join(names)}, and found {came}")
        await asyncio.sleep(0.001)


async def gone(members: Sequence[ProcessInfo], *, patience: float, unreaped: bool = False) -> None:
    """Waits until none of these processes exists, for at most ``patience`` seconds."""
    deadline = time.monotonic() + patience
    # The kernel reports the end of a process only to its parent, so it has to be polled.
    while any(exists(seen, unreaped=unreaped) for seen in members) and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.0002)


@contextlib.contextmanager
def clean(title: str) -> Iterator[str]:
    """Yields a new marker that contains this process's id. Ends all processes that still have it afterwards."""
    marker = f"treeguard-{title}-{os.getpid()}-{secrets.token_hex(8)}"
    try:
        yield marker
    finally:
        end(marker)


def end(marker: str) -> None:
    """Kills all live processes with the marker."""
    deadline = time.monotonic() + _END_PATIENCE
    while (found := living(marker)) and time.monotonic() < deadline:
        for seen in found:
            kill_if(seen.pid, functools.partial(_is_still, seen, marker))
        time.sleep(0.001)


def _is_still(seen: ProcessInfo, marker: str) -> bool:
    return exists(seen) and carries(seen.pid, marker)
