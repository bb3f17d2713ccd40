"""A cgroup with everything below it, at any depth: listing and killing its processes, and removing it.

A process that may write in a cgroup may also make cgroups in it, deeper than the limit on a path's length and deeper
than Python's stack. The walk therefore goes from directory to directory, and back up by ``..``.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator
from functools import partial
from pathlib import Path

from ..handlers import SystemErrors, of_handler
from ..processes.signals import kill_if
from .procs import DIRECTORY, open_in, processes_in

__all__ = ["kill_listed", "living_in", "remove"]


def _walk(top: Path) -> Generator[tuple[int, str | None], None, None]:
    """Yields each directory with None, then, after everything below it, its parent with its name.

    A parent comes before the directories below it. The walk owns the descriptors, and closes them as it moves on. Close
    it: Python drops an exception of a signal handler that comes while a generator is only dropped.
    Raises OSError if ``top`` cannot be opened, or if a directory on the way back up has been removed.
    """
    at = open_in(-1, top, DIRECTORY)
    try:
        yield at.number, None
        names: list[str] = []
        ahead = [_below(at.number)]
        while True:
            if ahead[-1]:
                name = ahead[-1].pop()
                try:
                    below = open_in(at.number, name, DIRECTORY)
                except OSError as error:
                    if of_handler(error):
                        raise
                    continue
                at.close()
                at = below
                names.append(name)
                yield at.number, None
                ahead.append(_below(at.number))
            elif names:
                ahead.pop()
                above = open_in(at.number, "..", DIRECTORY)
                at.close()
                at = above
                yield at.number, names.pop()
            else:
                return
    finally:
        at.close()


def _below(directory: int) -> list[str]:
    with SystemErrors(), os.scandir(directory) as entries:
        return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    return []  # it has been removed in the meantime


def living_in(cgroup: Path) -> set[int]:
    """The ids of the processes in a cgroup and below it; 0 stands for processes without an id in this namespace."""
    found: set[int] = set()
    with SystemErrors(), contextlib.closing(_walk(cgroup)) as walk:
        for directory, left in walk:
            if left is None:
                found |= processes_in(directory)
    return found


def kill_listed(cgroup: Path) -> None:
    """Kills the processes in a cgroup and below it, each by its handle, except this process."""
    with SystemErrors(), contextlib.closing(_walk(cgroup)) as walk:
        for directory, left in walk:
            for pid in processes_in(directory) if left is None else ():
                if pid not in (0, os.getpid()):
                    kill_if(pid, partial(_has, directory, pid))


def _has(directory: int, pid: int) -> bool:
    return pid in processes_in(directory)


def remove(cgroup: Path) -> None:
    """Removes a cgroup and everything below it. Raises OSError if a process lives in it."""
    with contextlib.closing(_walk(cgroup)) as walk:
        for directory, left in walk:
            if left is not None:
                with contextlib.suppress(FileNotFoundError):
                    _remove_in(directory, left)
    cgroup.rmdir()


def _remove_in(directory: int, name: str) -> None:
    try:
        os.rmdir(name, dir_fd=directory)
    except PermissionError:
        os.fchmod(directory, DIRECTORY)
        os.rmdir(name, dir_fd=directory)
