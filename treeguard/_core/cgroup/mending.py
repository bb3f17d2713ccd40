"""What somebody who may write there too has done to a manager's cgroup: undone, or named."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from .cgroupfs import write

__all__ = ["mend", "what_is_wrong"]

_MODE = 0o755


def mend(cgroup: Path) -> None:
    """Lets cgroups be made below it, and processes run there. Of what cannot be undone nothing is told."""
    for name, text in (("cgroup.max.descendants", "max"), ("cgroup.max.depth", "max"), ("cgroup.freeze", "0")):
        with contextlib.suppress(OSError):
            write(cgroup / name, text)
    with contextlib.suppress(OSError):
        cgroup.chmod(_MODE)


def what_is_wrong(cgroup: Path) -> str:
    """Why none can be made in it, or below its parent if it does not exist; nothing where no reason is to be seen."""
    if not cgroup.exists() and cgroup.parent.exists():
        return _of_limits(cgroup.parent) or _of_mode(cgroup.parent) or f"there is no {cgroup}"
    kind = _word(cgroup / "cgroup.type")
    if kind not in ("", "domain", "domain threaded"):
        return f"{cgroup / 'cgroup.type'} says {kind!r}"
    return _of_limits(cgroup) or _of_mode(cgroup)


def _of_limits(cgroup: Path) -> str:
    """A limit on cgroups holds for all below the one that it is set for."""
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
