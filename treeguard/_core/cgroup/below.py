"""A cgroup with everything below it, at any depth: listing and killing its processes, and removing it.

A process that may write in a cgroup may also make cgroups in it, deeper than the limit on a path's length and deeper
than Python's stack. The walk therefore goes from directory to directory, and back up by ``..``.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ..processes.procfs import kill_if, process_of, threads_of

__all__ = ["kill_listed", "living_in", "remove"]


#: The modes that the kernel gives to a cgroup's directory and to its files.
_DIRECTORY, _FILE = 0o755, 0o644


def _open(name: str | Path, directory: int | None, mode: int) -> int:
    """Opens a directory or file of a cgroup, and first restores its mode if this user owns it and may not open it."""
    flags = os.O_CLOEXEC | (os.O_DIRECTORY if mode & 0o100 else 0)
    try:
        return os.open(name, flags, dir_fd=directory)
    except PermissionError:
        if directory is not None:
            os.fchmod(directory, _DIRECTORY)
        os.chmod(name, mode, dir_fd=directory)
        return os.open(name, flags, dir_fd=directory)


def _walk(top: Path) -> Iterator[tuple[int, str | None]]:
    """Yields each directory with None, then, after everything below it, its parent with its name.

    A parent comes before the directories below it. The walk owns the descriptors, and closes them as it moves on.
    Raises OSError if ``top`` cannot be opened, or if a directory on the way back up has been removed.
    """
    at = _open(top, None, _DIRECTORY)
    try:
        yield at, None
        names: list[str] = []
        ahead = [_below(at)]
        while True:
            if ahead[-1]:
                name = ahead[-1].pop()
                try:
                    below = _open(name, at, _DIRECTORY)
                except OSError:
                    continue
                os.close(at)
                at = below
                names.append(name)
                yield at, None
                ahead.append(_below(at))
            elif names:
                ahead.pop()
                above = _open("..", at, _DIRECTORY)
                os.close(at)
                at = above
                yield at, names.pop()
            else:
                return
    finally:
        os.close(at)


def _below(directory: int) -> list[str]:
    try:
        with os.scandir(directory) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:  # it has been removed in the meantime
        return []


def living_in(cgroup: Path) -> set[int]:
    """The ids of the processes in a cgroup and below it; 0 stands for processes without an id in this namespace."""
    found: set[int] = set()
    with contextlib.suppress(OSError):
        for directory, left in _walk(cgroup):
            if left is None:
                found |= _processes(directory)
    return found


def _processes(directory: int) -> set[int]:
    """The ids of the processes in one cgroup.

    ``cgroup.procs`` leaves out a process whose main thread ended elsewhere before the process was moved here, and it
    cannot be read in a threaded cgroup. ``cgroup.threads`` lists every live thread.
    """
    processes = _listed(directory, "cgroup.procs")
    threads = _listed(directory, "cgroup.threads")
    if threads <= processes:
        return processes
    known = processes.union(*(threads_of(pid) for pid in processes if pid))
    return processes | {process_of(thread) for thread in threads - known}


def _listed(directory: int, name: str) -> set[int]:
    try:
        with open(_open(name, directory, _FILE), encoding="ascii") as file:
            return {int(word) for word in file.read().split()}
    except OSError:
        return set()


def kill_listed(cgroup: Path) -> None:
    """Kills the processes in a cgroup and below it, each by its handle, except this process."""
    with contextlib.suppress(OSError):
        for directory, left in _walk(cgroup):
            for pid in _processes(directory) if left is None else ():
                if pid not in (0, os.getpid()):
                    kill_if(pid, partial(_has, directory, pid))


def _has(directory: int, pid: int) -> bool:
    return pid in _processes(directory)


def remove(cgroup: Path) -> None:
    """Removes a cgroup and everything below it. Raises OSError if a process lives in it."""
    for directory, left in _walk(cgroup):
        if left is not None:
            with contextlib.suppress(FileNotFoundError):
                _remove_in(directory, left)
    cgroup.rmdir()


def _remove_in(directory: int, name: str) -> None:
    try:
        os.rmdir(name, dir_fd=directory)
    except PermissionError:
        os.fchmod(directory, _DIRECTORY)
        os.rmdir(name, dir_fd=directory)
