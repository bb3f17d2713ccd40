"""Undoing or naming the damage that other processes with write access have done to a manager's cgroup."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from .cgroupfs import write

__all__ = ["mend", "what_is_wrong"]

_MODE = 0o755


def mend(cgroup: Path) -> None:
    """Makes it possible again to make cgroups below it and to run processes there. Ignores what it cannot undo."""
    for name, text in (("cgroup.max.descendants", "max"), ("cgroup.max.depth", "max"), ("cgroup.freeze", "0")):
        with contextlib.suppress(OSError):
            write(cgroup / name, text)
    with contextlib.suppress(OSError):
        cgroup.chmod(_MODE)


def what_is_wrong(cgroup: Path) -> str:
    """The reason why no cgroup can be made in it, or in its parent if it does not exist; empty if none is visible."""
    if not cgroup.exists() and cgroup.parent.exists():
        return _of_limits(cgroup.parent) or _of_mode(cgroup.parent) or f"there is no {cgroup}"
    kind = _word(cgroup / "cgroup.type")
    if kind not in ("", "domain", "domain threaded"):
        return f"{cgroup / 'cgroup.type'} says {kind!r}"
    return _of_limits(cgroup) or _of_mode(cgroup)


def _of_limits(cgroup: Path) -> str:
    """The limit on cgroups that is reached. A limit applies to every cgroup below the one it is set for."""
    for depth, one in enumerate((cgroup, *cgroup.parents), start=1):
        if not (one / "cgroup.procs").exists():
            break
        made = next((line.split()[1] for line in _word(one / "cgroup.stat").splitlines() if line), "0")
        for name, reached in (("cgroup.max.descendants", int(made) + 1), ("cgroup.max.depth", depth)):
            most = _word(one / name)
            if most.isdecimal() and reached > int(most):
                return f"{one / name} says {most}"
    return ""


def _of_mode(cgroup: Path) -> str:
    if os.access(cgroup, os.W_OK | os.X_OK):
        return ""
    return f"{cgroup} may not be written to"


def _word(file: Path) -> str:
    try:
        return file.read_text("ascii").strip()
    except OSError:
        return ""
