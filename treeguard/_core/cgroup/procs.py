"""The processes in one cgroup: the one reader of ``cgroup.procs`` in Python, and moving a process (cgroups(7))."""

from __future__ import annotations

import os
from pathlib import Path

from ..native import Descriptor
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
    directory = Descriptor()
    try:
        directory.open(cgroup, os.O_RDONLY | os.O_DIRECTORY)
        return processes_in(directory.number)
    finally:
        directory.close()


def _listed(directory: int, name: str) -> set[int]:
    opened: Descriptor | None = None
    try:
        opened = open_in(directory, name, _FILE)
        with open(opened.number, encoding="ascii", closefd=False) as file:
            return {int(word) for word in file.read().split()}
    except TimeoutError:  # of a signal's handler
        raise
    except OSError:
        return set()
    finally:
        if opened is not None:
            opened.close()


def open_in(directory: int, name: str | Path, mode: int) -> Descriptor:
    """Opens a directory or file of a cgroup, and first restores its mode if this user owns it and may not open it.

    ``directory`` is that of the name, or -1. Raises OSError.
    """
    opened = Descriptor()
    flags = os.O_DIRECTORY if mode & 0o100 else 0
    try:
        opened.open(name, flags, directory)
    except PermissionError:
        if directory >= 0:
            os.fchmod(directory, DIRECTORY)
        os.chmod(name, mode, dir_fd=directory if directory >= 0 else None)
        opened.open(name, flags, directory)
    return opened


def move(pid: int, cgroup: Path) -> None:
    """Moves a process into a cgroup. Raises OSError."""
    write(cgroup / "cgroup.procs", str(pid))
