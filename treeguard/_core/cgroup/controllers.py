"""The controllers of cgroup version 2 that keep limits on a tree (cgroups(7)).

A cgroup gives controllers to the cgroups below it by naming them in ``cgroup.subtree_control``. After that no process
may live in the cgroup itself, except in the real root. So if a supervisor's own cgroup has to give controllers, the
supervisor steps aside into a cgroup below it, for as long as its manager needs the controllers.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from pathlib import Path

from ...limits import Limits
from ..processes.procfs import find
from .cgroupfs import write

__all__ = ["CONTROLLERS", "PLACE", "limit", "owner_of_place", "step_back", "turn_on", "turn_on_below_own"]

CONTROLLERS = frozenset({"memory", "pids", "cpu"})
#: The prefix of the cgroups that supervisors step aside to.
PLACE = "treeguard-supervisor."
#: No process id has more digits (proc(5), pid_max). Any process may give such a name to a cgroup.
_PLACE = re.compile(re.escape(PLACE) + "([1-9][0-9]{0,6})")
#: How many rounds of moving to make, since processes may start in the meantime.
_TRIES = 10
_PERIOD = 100_000


def turn_on_below_own(own: Path) -> frozenset[str]:
    """Gives controllers to the cgroups below this process's own. Returns those that they have afterwards."""
    wanted = _words(own / "cgroup.controllers")
    if wanted <= _words(own / "cgroup.subtree_control") or not (_is_root(own) or _step_aside(own)):
        return _words(own / "cgroup.subtree_control")
    given = turn_on(own)
    if not given:
        step_back(own)
    return given


def turn_on(cgroup: Path) -> frozenset[str]:
    """Gives controllers to the cgroups below ``cgroup``, which has no processes. Returns those that they have then."""
    for name in _words(cgroup / "cgroup.controllers") - _words(cgroup / "cgroup.subtree_control"):
        with contextlib.suppress(OSError):
            write(cgroup / "cgroup.subtree_control", f"+{name}")
    return _words(cgroup / "cgroup.subtree_control")


def limit(leaf: Path, limits: Limits) -> None:
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


def step_back(own: Path) -> None:
    """Returns to the own cgroup, unless another manager of this process still needs its controllers."""
    place = _place(own)
    if not place.exists():
        return
    with contextlib.suppress(OSError):
        for name in _words(own / "cgroup.subtree_control"):
            write(own / "cgroup.subtree_control", f"-{name}")
        _move(place, own)
        place.rmdir()


def _step_aside(own: Path) -> bool:
    """Leaves the own cgroup, together with this process's children in it. Returns whether it is free of processes."""
    if not _delegated(own):
        return False
    place = _place(own)
    try:
        if any(not _is_ours(pid) for pid in _processes(own)):
            return False
        place.mkdir(exist_ok=True)
        _move(own, place)
        if not _processes(own):
            return True
    except OSError:
        pass
    step_back(own)
    return False


def _move(source: Path, target: Path) -> None:
    for _ in range(_TRIES):
        pids = _processes(source)
        if not pids:
            return
        for pid in pids:
            try:
                write(target / "cgroup.procs", str(pid))
            except OSError as error:
                if error.errno != errno.ESRCH:
                    raise


def _processes(cgroup: Path) -> list[int]:
    return [int(word) for word in (cgroup / "cgroup.procs").read_text("ascii").split()]


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


def _is_root(cgroup: Path) -> bool:
    return not (cgroup / "cgroup.type").exists()


def owner_of_place(name: str) -> int | None:
    """The process id of the supervisor that steps aside to a cgroup of that name; None for any other name."""
    match = _PLACE.fullmatch(name)
    return None if match is None else int(match[1])


def _place(own: Path) -> Path:
    return own / f"{PLACE}{os.getpid()}"


def _words(path: Path) -> frozenset[str]:
    try:
        return CONTROLLERS.intersection(path.read_text("ascii").split())
    except OSError:
        return frozenset()
