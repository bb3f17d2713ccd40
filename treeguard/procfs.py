"""Processes as ``/proc`` shows them: for looking at, and for signalling by handle what was looked at."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = ["TICK", "Seen", "everybody", "kill_if", "look_at"]

_PROC = Path("/proc")
_DEAD = "ZX"
#: Seconds in a clock tick, the unit of :attr:`Seen.started`.
TICK = 1 / os.sysconf("SC_CLK_TCK")


class Seen(NamedTuple):
    """A process, as it was seen. Its number and its start, in clock ticks after boot, are its identity."""

    pid: int
    name: str
    state: str
    parent: int
    group: int
    session: int
    started: int

    @property
    def alive(self) -> bool:
        """Whether it has not ended; one that has may still wait to be reaped."""
        return self.state not in _DEAD


def look_at(pid: int) -> Seen | None:
    """The process of that number, dead but unreaped ones included."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # proc(5): the name may hold anything, so fields are counted from its last parenthesis.
    name, _, rest = text.partition("(")[2].rpartition(")")
    fields = rest.split()
    return Seen(pid, name, fields[0], int(fields[1]), int(fields[2]), int(fields[3]), int(fields[19]))


def everybody() -> Iterator[int]:
    """The numbers of all processes."""
    return (int(entry) for entry in os.listdir(_PROC) if entry.isdecimal())  # noqa: PTH208 - numbers, not paths


def kill_if(pid: int, meant: Callable[[], bool]) -> bool:
    """Kills the process of that number if it is the one that is ``meant``; whether it was, and could be.

    It is looked at with its handle in hand: what was looked at is what is killed, whoever gets the number later. Where
    there are no handles (before Linux 5.3, or forbidden by a filter) only the moment between look and kill is not safe.
    """
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    except OSError:
        handle = -1
    try:
        return meant() and _kill(pid, handle)
    finally:
        if handle >= 0:
            os.close(handle)


def _kill(pid: int, handle: int) -> bool:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if handle >= 0:
            try:
                signal.pidfd_send_signal(handle, signal.SIGKILL)
                return True
            except ProcessLookupError:
                return False
            except OSError:
                pass  # a filter's answer, or a process that may not be signalled: the other call tells which
        os.kill(pid, signal.SIGKILL)
        return True
    return False
