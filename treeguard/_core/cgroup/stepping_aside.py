"""Leaving a cgroup that has to give controllers to those below it, as long as a manager needs them (cgroups(7)).

The supervisor steps aside into a cgroup below its own, with its children there, and back again.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from ..processes.process import find
from .cgroupfs import PLACE, write
from .controllers import given_by
from .procs import move, processes_of

__all__ = ["step_aside", "step_back"]

#: How many rounds of moving to make, since processes may start in the meantime.
_TRIES = 10


def step_back(own: Path) -> None:
    """Returns to the own cgroup, unless another manager of this process still needs its controllers."""
    place = _place(own)
    if not place.exists():
        return
    with contextlib.suppress(OSError):
        for name in given_by(own):
            write(own / "cgroup.subtree_control", f"-{name}")
        _move(place, own)
        place.rmdir()


def step_aside(own: Path) -> bool:
    """Leaves the own cgroup, together with this process's children in it. Returns whether it is free of processes."""
    if not _delegated(own):
        return False
    place = _place(own)
    try:
        if any(not _is_ours(pid) for pid in processes_of(own)):
            return False
        place.mkdir(exist_ok=True)
        _move(own, place)
        if not processes_of(own):
            return True
    except OSError:
        pass
    step_back(own)
    return False


def _move(source: Path, target: Path) -> None:
    for _ in range(_TRIES):
        pids = processes_of(source)
        if not pids:
            return
        for pid in pids:
            try:
                move(pid, target)
            except OSError as error:
                if error.errno != errno.ESRCH:
                    raise


def _is_ours(pid: int) -> bool:
    seen = find(pid)
    return seen is None or os.getpid() in (pid, seen.parent)


def _delegated(cgroup: Path) -> bool:
    """Whether this user may divide the cgroup. Root may do anything, so it needs systemd's mark (systemd.exec(5))."""
    if os.geteuid() != 0:
        return os.access(cgroup / "cgroup.subtree_control", os.W_OK)
    for mark in ("user.delegate", "trusted.delegate"):
        with contextlib.suppress(OSError):
            if os.getxattr(cgroup, mark) == b"1":
                return True
    return False


def _place(own: Path) -> Path:
    return own / f"{PLACE}{os.getpid()}"
