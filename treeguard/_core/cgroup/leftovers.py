"""Removing the cgroups that dead managers have left, with what lives in them."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from pathlib import Path

from ..processes.process import find
from .cgroupfs import owner_of_place
from .cgroups import pid_namespace

__all__ = ["begin_sweep", "sweep"]

#: The name of a manager's cgroup: its owner's pid namespace, process id and start time. Any process may use such a
#: name.
_NAME = re.compile(r"treeguard\.([0-9]{1,20})\.([0-9]{1,7})\.([0-9]{1,20})\.[0-9a-f]+")
#: The mark of a guard whose tree was released: the name of its leaf, and the guard's process id and start time.
_MARK = re.compile(r"treeguard-released\.([0-9]{1,20})\.([0-9]{1,7})\.([0-9]{1,20})\.[0-9a-f]+")
#: How many seconds the sweeper thread keeps trying to remove the remains of dead owners. No caller waits for it.
_SWEEP_PATIENCE = 1.0
_PAUSE = 0.005


def begin_sweep(parent: Path) -> None:
    """Sweeps in a thread, if there is anything to sweep. The next manager sweeps what this one leaves."""
    if any(map(_is_left, _names(parent))):
        with contextlib.suppress(RuntimeError):  # no thread is available
            threading.Thread(target=_try_to_sweep, args=(parent,), name="treeguard-sweeper", daemon=True).start()


def _try_to_sweep(parent: Path) -> None:
    with contextlib.suppress(OSError, ImportError):  # too few descriptors: what sweeps is imported where it is needed
        sweep(parent)


def sweep(parent: Path) -> None:
    """Kills and removes the cgroups in ``parent`` of managers that were killed together with their guards.

    A process id *and* a start time identify an owner, in the pid namespace that it had. The owners of other namespaces
    cannot be checked from here, so their cgroups are left alone. The guards of an owner that has just died work here
    too.
    """
    deadline = time.monotonic() + _SWEEP_PATIENCE
    left = [name for name in _names(parent) if _is_left(name)]
    while left:
        left = [name for name in left if not _swept(parent, name)]
        if time.monotonic() >= deadline:
            break
        time.sleep(_PAUSE)


def _is_left(name: str) -> bool:
    """Whether a dead owner has left the cgroup of that name."""
    place = owner_of_place(name)
    if place is not None:
        return not _lives(place)
    match = _NAME.fullmatch(name)
    return match is not None and int(match[1]) == pid_namespace() and not _lives(int(match[2]), int(match[3]))


def _swept(parent: Path, name: str) -> bool:
    if owner_of_place(name) is None:
        from .emptying import empty

        released = _released(parent / name)
        if not released:
            return empty(parent / name, parent)
        below = [parent / name / each for each in _names(parent / name) if each not in released]
        left = [each for each in below if each.is_dir() and not empty(each, parent)]
        return not left
    # A dead supervisor had stepped aside to it. Processes that it started itself may live on there; they are not ours.
    with contextlib.suppress(OSError):
        (parent / name).rmdir()
    return True


def _released(cgroup: Path) -> set[str]:
    """What is in a manager's cgroup of trees that outlive it on purpose: their leaves, and the marks of their guards.

    A mark whose guard has died protects nothing.
    """
    marks = filter(None, map(_MARK.fullmatch, _names(cgroup)))
    living = [mark for mark in marks if _lives(int(mark[2]), int(mark[3]))]
    return {name for mark in living for name in (mark[0], mark[1])}


def _lives(pid: int, started: int | None = None) -> bool:
    """Whether a process with that start time lives. A process that cannot be examined counts as alive."""
    try:
        seen = find(pid)
    except OSError:
        return True
    return seen is not None and (started is None or (seen.alive and seen.started == started))


def _names(parent: Path) -> list[str]:
    try:
        return os.listdir(parent)  # noqa: PTH208 - names, not paths
    except OSError:
        return []
