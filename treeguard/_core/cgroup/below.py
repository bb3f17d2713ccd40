"""A cgroup with all that is below it, at any depth: who lives there, and removing it.

Whoever may write in a cgroup may make others in it: deeper than a path may be long, and than Python's stack. So the way
goes from directory to directory, and up by ``..``.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ..processes.procfs import kill_if, process_of, threads_of

__all__ = ["kill_listed", "living_in", "remove"]


#: The modes that they are made with.
_DIRECTORY, _FILE = 0o755, 0o644


def _open(name: str | Path, directory: int | None, mode: int) -> int:
    """Opens a directory or file of a cgroup; also one that was locked by its mode, if it is this user's."""
    flags = os.O_CLOEXEC | (os.O_DIRECTORY if mode & 0o100 else 0)
    try:
        return os.open(name, flags, dir_fd=directory)
    except PermissionError:
        if directory is not None:
            os.fchmod(directory, _DIRECTORY)
        os.chmod(name, mode, dir_fd=directory)
        return os.open(name, flags, dir_fd=directory)


def _walk(top: Path) -> Iterator[tuple[int, str | None]]:
    """Each directory with None, a parent before those below; and when all below one was seen, its parent and its name.

    The descriptors are the walk's own. Raises OSError if ``top`` cannot be opened; what is removed meanwhile ends it.
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
    except OSError:  # removed meanwhile
        return []


def living_in(cgroup: Path) -> set[int]:
    """The processes in a cgroup and below it; 0 stands for any that have no number in this namespace."""
    found: set[int] = set()
    with contextlib.suppress(OSError):
        for directory, left in _walk(cgroup):
            if left is None:
                found |= _processes(directory)
    return found


def _processes(directory: int) -> set[int]:
    """Those of one cgroup.

    The list of processes leaves out one whose main thread ended elsewhere before it was moved here, and there is none
    in a threaded cgroup. All that live are in the list of threads.
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
    """Kills who lives in a cgroup and below it, each by its handle, but not this process."""
    with contextlib.suppress(OSError):
        for directory, left in _walk(cgroup):
            for pid in _processes(directory) if left is None else ():
                if pid not in (0, os.getpid()):
                    kill_if(pid, partial(_has, directory, pid))


def _has(directory: int, pid: int) -> bool:
    return pid in _processes(directory)


def remove(cgroup: Path) -> None:
    """Removes it with all below. Raises OSError if somebody lives in it."""
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
