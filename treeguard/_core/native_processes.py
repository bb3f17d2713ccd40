"""The processes of the host, as the C core lists them on Linux."""

from __future__ import annotations

import os
import sys
from typing import NamedTuple

from .native import _ffi, _lib

__all__ = ["Row", "adopts", "chase", "processes"]


class Row(NamedTuple):
    """``struct tg_process``: what ``/proc`` shows of a process on Linux; ticks after boot, page faults.

    The state is NUL for a process that was gone when it was read.
    """

    pid: int
    parent: int
    group: int
    session: int
    state: str
    started: int
    reaped: int


def adopts() -> bool:
    """Whether orphans among this process's descendants become its children (prctl(2), PR_SET_CHILD_SUBREAPER)."""
    return bool(_lib.tg_adopts())


def chase(ancestor: int, milliseconds: int) -> int:
    """Kills descendants of a process that fork and exit faster than a list of processes can show them, on Linux.

    Blocks for at most ``milliseconds``, and for less where no process is being created. Returns how many were killed,
    or a negative errno.
    """
    return int(_lib.tg_chase(ancestor, milliseconds)) if sys.platform == "linux" else 0


def processes() -> list[Row]:
    """All processes of the host, on Linux. Raises OSError; FileNotFoundError if ``/proc`` is unavailable."""
    room = 1024
    while True:
        rows = _ffi.new("struct tg_process[]", room)
        n = _lib.tg_processes(rows, room)
        if n < 0:
            raise OSError(-n, os.strerror(-n))
        if n <= room:
            return [Row(r.pid, r.parent, r.group, r.session, chr(r.state), r.started, r.reaped) for r in rows[0:n]]
        room = 2 * n
