"""The controllers of cgroup version 2 that keep limits on a tree (cgroups(7)).

A cgroup gives controllers to the cgroups below it by naming them in ``cgroup.subtree_control``. After that no process
may live in the cgroup itself, except in the real root: see :mod:`.stepping_aside`.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from .cgroupfs import write

__all__ = ["CONTROLLERS", "given_by", "turn_on", "turn_on_below_own"]

CONTROLLERS = frozenset({"memory", "pids", "cpu"})


def turn_on_below_own(own: Path) -> frozenset[str]:
    """Gives controllers to the cgroups below this process's own. Returns those that they have afterwards."""
    wanted = _words(own / "cgroup.controllers")
    if wanted <= given_by(own):
        return given_by(own)
    if not (own / "cgroup.type").exists():  # it is the real root
        return turn_on(own)
    from .stepping_aside import step_aside, step_back

    if not step_aside(own):
        return given_by(own)
    given = turn_on(own)
    if not given:
        step_back(own)
    return given


def turn_on(cgroup: Path) -> frozenset[str]:
    """Gives controllers to the cgroups below ``cgroup``, which has no processes. Returns those that they have then."""
    for name in _words(cgroup / "cgroup.controllers") - given_by(cgroup):
        with contextlib.suppress(OSError):
            write(cgroup / "cgroup.subtree_control", f"+{name}")
    return given_by(cgroup)


def given_by(cgroup: Path) -> frozenset[str]:
    """The controllers that a cgroup gives to those below it."""
    return _words(cgroup / "cgroup.subtree_control")


def _words(path: Path) -> frozenset[str]:
    try:
        return CONTROLLERS.intersection(path.read_text("ascii").split())
    except OSError:
        return frozenset()
