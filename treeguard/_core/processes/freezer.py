"""Processes that a freezer of cgroup version 1 or version 2 holds (Linux).

With version 1, SIGKILL takes effect only once the process is thawed. With version 2 it takes effect at once
(cgroups(7)).
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

__all__ = ["frozen_in", "is_frozen", "release"]


def is_frozen(pid: int) -> bool:
    """Whether a freezer of either version holds a process, as far as this process can see."""
    if frozen_in(pid) is not None:
        return True
    mount, place = _mount(""), _place(pid, "")
    if mount is None or place is None:
        return False
    with contextlib.suppress(OSError):
        return "frozen 1" in (mount / place.lstrip("/") / "cgroup.events").read_text("ascii")
    return False


def frozen_in(pid: int) -> Path | None:
    """The directory of the frozen cgroup of version 1 that a process is in; None if none is visible."""
    mount, place = _mount(), _place(pid)
    if mount is None or place is None:
        return None
    directory = mount / place.lstrip("/")
    with contextlib.suppress(OSError):
        if (directory / "freezer.state").read_text("ascii").strip() != "THAWED":
            return directory
    return None


def release(pid: int) -> None:
    """Lets a killed process end that is frozen, by moving it to the root cgroup, which is never frozen.

    No other process is thawed. This needs permission to write there; without it nothing happens.
    """
    mount = None if _place(pid) in (None, "/") else _mount()
    if mount is not None:
        with contextlib.suppress(OSError):
            fd = os.open(mount / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(fd, str(pid).encode("ascii"))
            finally:
                os.close(fd)


def _place(pid: int, controller: str = "freezer") -> str | None:
    """A process's path in a controller's hierarchy; "" stands for that of version 2 (proc(5), /proc/pid/cgroup)."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return None
    split = (line.split(":", 2) for line in lines)
    return next((place for _, controllers, place in split if controller in controllers.split(",")), None)


def _mount(controller: str = "freezer") -> Path | None:
    """The mount point of that hierarchy (proc(5), mountinfo)."""
    try:
        lines = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return None
    for line in lines:
        fields, _, kind = line.partition(" - ")
        of_one = kind.startswith("cgroup ") and controller in kind.rpartition(" ")[2].split(",")
        if of_one if controller else kind.startswith("cgroup2 "):
            return Path(fields.split()[4])
    return None
