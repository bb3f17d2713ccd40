"""Processes that a freezer of cgroup version 1 or version 2 holds (Linux).

With version 1, SIGKILL takes effect only once the process is thawed. With version 2 it takes effect at once
(cgroups(7)).
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from ..native import Descriptor
from .mounts import CgroupMount, cgroup_mounts

__all__ = ["frozen_in", "is_frozen", "release"]


def is_frozen(pid: int) -> bool:
    """Whether a freezer of either version holds a process, as far as this process can see."""
    if frozen_in(pid) is not None:
        return True
    directory = _directory(pid, "")
    if directory is None:
        return False
    with contextlib.suppress(OSError):
        return "frozen 1" in (directory / "cgroup.events").read_text("ascii")
    return False


def frozen_in(pid: int) -> Path | None:
    """The directory of the frozen cgroup of version 1 that a process is in; None if none is visible."""
    directory = _directory(pid, "freezer")
    if directory is None:
        return None
    with contextlib.suppress(OSError):
        if (directory / "freezer.state").read_text("ascii").strip() != "THAWED":
            return directory
    return None


def release(pid: int) -> None:
    """Lets a killed process end that is frozen, by moving it to the root cgroup, which is never frozen.

    No other process is thawed. This needs permission to write there; without it nothing happens.
    """
    mount = None if _place(pid, "freezer") in (None, "/") else next(iter(_mounts("freezer")), None)
    if mount is not None:
        with contextlib.suppress(OSError):
            file = Descriptor()
            try:
                file.open(mount.point / "cgroup.procs", os.O_WRONLY)
                os.write(file.number, str(pid).encode("ascii"))
            finally:
                file.close()


def _place(pid: int, controller: str) -> str | None:
    """A process's path in a controller's hierarchy; "" stands for that of version 2 (proc(5), /proc/pid/cgroup)."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return None
    split = (line.split(":", 2) for line in lines)
    return next((place for _, controllers, place in split if controller in controllers.split(",")), None)


def _mounts(controller: str) -> list[CgroupMount]:
    try:
        return cgroup_mounts(controller)
    except OSError:
        return []


def _directory(pid: int, controller: str) -> Path | None:
    place = _place(pid, controller)
    if place is None:
        return None
    directories = (mount.directory(place) for mount in _mounts(controller))
    return next((directory for directory in directories if directory is not None), None)
