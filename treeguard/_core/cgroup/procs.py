"""The processes in one cgroup: the one reader of ``cgroup.procs`` in Python, and moving a process (cgroups(7))."""

from __future__ import annotations

import os
from pathlib import Path

from ..processes.process import process_of, threads_of
from .cgroupfs import write

__all__ = ["DIRECTORY", "move", "open_in", "processes_in", "processes_of"]

#: The modes that the kernel gives to a cgroup's directory and to its files.
DIRECTORY, _FILE = 0o755, 0o644


def processes_in(directory: int) -> set[int]:
    """The ids of the processes in the cgroup of an open directory; 0 stands for those without an id in this namespace.

    ``cgroup.procs`` leaves out a process whose main thread ended elsewhere before the process was moved here, and it
    cannot be read in a threaded cgroup. ``cgroup.threads`` lists every live thread. Unreadable files count as empty.
    """
    processes = _listed(directory, "cgroup.procs")
    threads = _listed(directory, "cgroup.threads")
    if threads <= processes:
        return processes
    known = processes.union(*(threads_of(pid) for pid in processes if pid))
    return processes | {process_of(thread) for thread in threads - known}


def processes_of(cgroup: Path) -> set[int]:
    """The same for the path of a cgroup. Raises OSError if the directory cannot be opened."""
    directory = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return processes_in(directory)
    finally:
        os.close(directory)


def _listed(directory: int, name: str) -> set[int]:
    try:
        with open(open_in(directory, name, _FILE), encoding="ascii") as file:
            return {int(word) for word in file.read().split()}
    except OSError:
        return set()


def open_in(directory: int | None, name: str | Path, mode: int) -> int:
    """Opens a directory or file of a cgroup, and first restores its mode if this user owns it and may not open it."""
    flags = os.O_CLOEXEC | (os.O_DIRECTORY if mode & 0o100 else 0)
    try:
        return os.open(name, flags, dir_fd=directory)
    except PermissionError:
        if directory is not None:
            os.fchmod(directory, DIRECTORY)
        os.chmod(name, mode, dir_fd=directory)
        return os.open(name, flags, dir_fd=directory)


def move(pid: int, cgroup: Path) -> None:
    """Moves a process into a cgroup. Raises OSError."""
    write(cgroup / "cgroup.procs", str(pid))
