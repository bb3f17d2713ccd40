"""Killing what is in a cgroup, and removing it, whatever other processes of the same user have done to it."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from .below import kill_listed, remove
from .cgroupfs import KILL, PLACE, write
from .mending import mend
from .procs import move

__all__ = ["empty", "stay_out", "unlock"]


def empty(cgroup: Path, own: Path) -> bool:
    """Kills every process in a cgroup and removes it. Returns whether it is gone; call it again until it is.

    Any process of the same user may have written this process's id into the cgroup. This process then returns to its
    ``own`` cgroup first.
    """
    try:
        if _is_removed(cgroup):
            return True
        stay_out(cgroup, own)
        _kill(cgroup)
        remove(cgroup)
    except FileNotFoundError:
        return not cgroup.exists()
    except OSError as error:
        if error.errno == errno.EACCES:
            unlock(cgroup, own, cgroup / KILL)
        # Killing the cgroup as a whole misses a process whose main thread has ended while others live (seen on 6.18).
        kill_listed(cgroup)
        return False
    return True


def _is_removed(cgroup: Path) -> bool:
    """Removes a cgroup that is empty, and waits until moves into it that are under way are done.

    A move holds the kernel's lock on cgroups for milliseconds, as csrc/linux/cgroup.c explains, and a removal waits for
    it. Whether this process is in the cgroup is certain only afterwards.
    """
    try:
        cgroup.rmdir()
    except FileNotFoundError:
        raise
    except OSError:
        return False
    return True


def unlock(cgroup: Path, own: Path, *files: Path) -> None:
    """Restores the modes of a tree's cgroup and of ``files`` in it. The walk below it restores the modes it meets."""
    with contextlib.suppress(OSError):
        if cgroup.parent != own:
            mend(cgroup.parent)
        cgroup.chmod(0o755)
        for file in files:
            file.chmod(0o644)


def _is_in(cgroup: Path) -> bool:
    """Whether this process is in a cgroup or below it. The last two names of a leaf's path identify it."""
    try:
        lines = Path("/proc/self/cgroup").read_text("utf-8", "surrogateescape").splitlines()
    except OSError as error:
        # A path that is too long to be shown belongs to a cgroup far below.
        return error.errno == errno.ENAMETOOLONG
    end = "/".join(("", *cgroup.parts[-2:], ""))
    return any(line.startswith("0::") and end in f"{line}/" for line in lines)


def stay_out(cgroup: Path, own: Path) -> None:
    """Returns this process to its own cgroup if another process has moved it into ``cgroup`` or below.

    Raises OSError if it cannot. The caller must then neither kill nor freeze ``cgroup``.
    """
    if not _is_in(cgroup):
        return
    try:
        move(os.getpid(), own)
    except OSError:
        # The cgroups below it have controllers, so no process may live in it.
        move(os.getpid(), own / f"{PLACE}{os.getpid()}")


def _kill(cgroup: Path) -> None:
    try:
        write(cgroup / KILL, "1")
    except FileNotFoundError:
        _kill_frozen(cgroup)


def _kill_frozen(cgroup: Path) -> None:
    """Kills a cgroup before ``cgroup.kill`` (Linux 5.14): a frozen process cannot fork.

    SIGKILL reaches frozen processes (Linux 5.2). The cgroup stays frozen until every process in it has stopped, so that
    the next call finds no new processes.
    """
    write(cgroup / "cgroup.freeze", "1")
    frozen = "frozen 1" in (cgroup / "cgroup.events").read_text("ascii")
    kill_listed(cgroup)
    if frozen:
        write(cgroup / "cgroup.freeze", "0")
