"""A leaf with limits, which is made before the guard would make it."""

from __future__ import annotations

import contextlib
from pathlib import Path

from ...limits import Limits
from .cgroupfs import write
from .cgroups import ManagerCgroup
from .mending import mend

__all__ = ["make_limited_leaf"]

#: Microseconds of the period in which the kernel grants CPU time.
_PERIOD = 100_000


def make_limited_leaf(cgroup: ManagerCgroup, tag: int, limits: Limits) -> None:
    """Makes a leaf with limits. Raises OSError if a controller is missing."""
    cgroup.controllers()
    leaf = cgroup.leaf(tag)
    try:
        leaf.mkdir()
    except OSError:
        mend(cgroup.path)
        cgroup.discard(tag)
        leaf.mkdir()
    try:
        _limit(leaf, limits)
    except OSError:
        leaf.rmdir()
        raise


def _limit(leaf: Path, limits: Limits) -> None:
    """Sets the limits of a leaf. Raises OSError if they may not be set."""
    if limits.memory is not None:
        write(leaf / "memory.max", str(limits.memory))
        # Half a tree is of no use, so the kernel kills all of it when it runs out of memory (Linux 4.19).
        write(leaf / "memory.oom.group", "1")
        with contextlib.suppress(FileNotFoundError):  # the kernel does not count swap
            write(leaf / "memory.swap.max", "0")
    if limits.processes is not None:
        write(leaf / "pids.max", str(limits.processes))
    if limits.cpu is not None:
        write(leaf / "cpu.max", f"{round(limits.cpu * _PERIOD)} {_PERIOD}")
