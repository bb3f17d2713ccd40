"""Looking at the system: which processes live, as /proc tells it, whatever anybody says about them.

Processes are known by a *marker*, a word among their arguments: unlike a parent, a session or an environment, it is
nothing that an escapee sheds on its way.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

__all__ = ["Seen", "StagingError", "cast", "clean", "end", "environment", "exists", "gone", "left", "living", "look_at"]

_PROC = Path("/proc")
_DEAD = "ZX"
#: How long the kernel may take to carry out SIGKILL, on a host that is busy with other things.
_END_PATIENCE = 2.0


class StagingError(Exception):
    """The processes that were to be looked at did not come."""


class Seen(NamedTuple):
    """A process, as it was seen. Its number and its start, in clock ticks after boot, are its identity."""

    pid: int
    name: str
    state: str
    parent: int
    session: int
    started: int


def look_at(pid: int) -> Seen | None:
    """The process of that number, dead but unreaped ones included."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # proc(5): the name may hold anything, so fields are counted from its last parenthesis.
    name, _, rest = text.partition("(")[2].rpartition(")")
    fields = rest.split()
    return Seen(pid, name, fields[0], int(fields[1]), int(fields[3]), int(fields[19]))


def environment(pid: int) -> bytes:
    """The environment that a process was executed with."""
    return (_PROC / str(pid) / "environ").read_bytes()


def _carries(pid: int, marker: bytes) -> bool:
    try:
        return marker in (_PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False


def living(marker: str) -> list[Seen]:
    """The processes with that marker that live, in the order in which they were started."""
    word = marker.encode()
    pids = [int(entry) for entry in os.listdir(_PROC) if entry.isdecimal()]  # noqa: PTH208 - numbers, not paths
    found = [seen for pid in pids if _carries(pid, word) and (seen := look_at(pid)) and seen.state not in _DEAD]
    return sorted(found, key=lambda seen: (seen.started, seen.pid))


def exists(seen: Seen, *, unreaped: bool = False) -> bool:
    """Whether this very process still lives, or is ``unreaped`` at least."""
    now = look_at(seen.pid)
    return now is not None and now.started == seen.started and (unreaped or now.state not in _DEAD)


def left(marker: str, members: Sequence[Seen], *, unreaped: bool = False) -> list[Seen]:
    """What is left: all that live with the marker, and those of ``members`` that are ``unreaped`` if these count."""
    found = {seen.pid: seen for seen in members if unreaped and exists(seen, unreaped=True)}
    return list((found | {seen.pid: seen for seen in living(marker)}).values())


async def cast(marker: str, names: Sequence[str], *, patience: float = 10.0) -> list[Seen]:
    """Waits until exactly the processes of these names live, those named ``stopped`` being stopped."""
    wanted = sorted(names)
    deadline = time.monotonic() + patience
    while True:
        seen = living(marker)
        if sorted(each.name for each in seen) == wanted and all(
            each.state == "T" for each in seen if each.name == "stopped"
        ):
            return seen
        if time.monotonic() > deadline:
            came = ", ".join(each.name for each in seen) or "nobody"
            raise StagingError(f"{', '.join(names)} were to live, and {came} did")
        await asyncio.sleep(0.001)


async def gone(members: Sequence[Seen], *, patience: float, unreaped: bool = False) -> None:
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
            _kill(seen, marker.encode())
        time.sleep(0.001)


def _kill(seen: Seen, marker: bytes) -> None:
    with contextlib.suppress(OSError):
        handle = os.pidfd_open(seen.pid)
        try:
            # Looked at again with the handle in hand: what was looked at is what is signalled.
            if exists(seen) and _carries(seen.pid, marker):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
        finally:
            os.close(handle)
