"""Looking at the system: which processes live, as it tells itself, whatever anybody says about them.

Processes are known by a *marker*, a word among their arguments: unlike a parent, a session or an environment, it is
nothing that an escapee sheds on its way.
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

#: How long the kernel may take to carry out SIGKILL, on a host that is busy with other things.
_END_PATIENCE = 2.0


class StagingError(Exception):
    """The processes that were to be looked at did not come."""


def blindness() -> str | None:
    """Why nothing can be seen of this system's processes; None where this one can."""
    try:
        seen = get_process(os.getpid()) if any(pid == os.getpid() for pid in iter_pids()) else None
    except OSError as error:
        return f"{WHERE} does not show the processes of this system: {error.strerror}"
    return None if seen and seen.alive else f"{WHERE} does not show this process"


def living(marker: str) -> list[ProcessInfo]:
    """The processes with that marker that live, in the order in which they were started."""
    found = [seen for pid in iter_pids() if carries(pid, marker) and (seen := get_process(pid)) and seen.alive]
    return sorted(found, key=lambda seen: (seen.started, seen.pid))


def exists(seen: ProcessInfo, *, unreaped: bool = False) -> bool:
    """Whether this very process still lives, or is ``unreaped`` at least."""
    now = get_process(seen.pid)
    return now is not None and now.started == seen.started and (unreaped or now.alive)


def left(marker: str, members: Sequence[ProcessInfo], *, unreaped: bool = False) -> list[ProcessInfo]:
    """What is left: all that live with the marker, and those of ``members`` that are ``unreaped`` if these count."""
    found = {seen.pid: seen for seen in members if unreaped and exists(seen, unreaped=True)}
    return list((found | {seen.pid: seen for seen in living(marker)}).values())


async def cast(
    marker: str, names: Sequence[str], ended: Callable[[], bool], *, patience: float = 10.0
) -> list[ProcessInfo]:
    """Waits until exactly the processes of these names live, those named ``stopped`` being stopped.

    ``ended``: whether nobody can come any more.
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
            came = ", ".join(each.name for each in seen) or "nobody"
            raise StagingError(f"{', '.join(names)} were to live, and {came} did")
        await asyncio.sleep(0.001)


async def gone(members: Sequence[ProcessInfo], *, patience: float, unreaped: bool = False) -> None:
    """Waits until none of these processes exists, no longer than ``patience``."""
    deadline = time.monotonic() + patience
    # The kernel tells nobody of a stranger's end, so it is looked for.
    while any(exists(seen, unreaped=unreaped) for seen in members) and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.0002)


@contextlib.contextmanager
def clean(title: str) -> Iterator[str]:
    """A new marker, with this process's number in it; whatever still lives with it afterwards is ended."""
    marker = f"treeguard-{title}-{os.getpid()}-{secrets.token_hex(8)}"
    try:
        yield marker
    finally:
        end(marker)


def end(marker: str) -> None:
    """Kills everything that lives with the marker."""
    deadline = time.monotonic() + _END_PATIENCE
    while (found := living(marker)) and time.monotonic() < deadline:
        for seen in found:
            kill_if(seen.pid, functools.partial(_is_still, seen, marker))
        time.sleep(0.001)


def _is_still(seen: ProcessInfo, marker: str) -> bool:
    return exists(seen) and carries(seen.pid, marker)
