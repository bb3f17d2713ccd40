"""The processes of the host, as the C core lists them on macOS and FreeBSD."""

from __future__ import annotations

import os
from typing import NamedTuple

from .native import _ffi, _lib

__all__ = ["CoreProcessInfo", "list_processes", "look"]


class CoreProcessInfo(NamedTuple):
    """``struct tg_proc_info``: what the C core knows of a process on macOS and FreeBSD; microseconds and bytes."""

    name: str
    state: str
    parent: int
    group: int
    session: int
    started_us: int
    user_us: int
    system_us: int
    memory: int


def look(pid: int) -> CoreProcessInfo | None:
    """The process of that number, on macOS and FreeBSD; None if it cannot be seen."""
    seen = _ffi.new("struct tg_proc_info *")
    if _lib.tg_proc_get(pid, seen) < 0:
        return None
    return CoreProcessInfo(
        _ffi.string(seen.name).decode("utf-8", "replace"),
        chr(seen.state),
        seen.parent,
        seen.group,
        seen.session,
        seen.started_us,
        seen.user_us,
        seen.system_us,
        seen.memory,
    )


def list_processes() -> list[int]:
    """The numbers of all processes, on macOS and FreeBSD. Raises OSError."""
    room = 1024
    while True:
        pids = _ffi.new("int32_t[]", room)
        n = _lib.tg_list(pids, room)
        if n < 0:
            raise OSError(-n, os.strerror(-n))
        if n <= room:
            return list(pids[0:n])
        room = 2 * n
