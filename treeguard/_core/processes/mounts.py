"""Where the hierarchies of cgroups are mounted, and which directory a process's path in one is (Linux)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

__all__ = ["CgroupMount", "cgroup_mounts"]


class CgroupMount(NamedTuple):
    """A mount of a hierarchy. A container may see only the part below ``root``."""

    root: str
    point: Path

    def directory(self, member: str) -> Path | None:
        """The directory of a path from ``/proc/PID/cgroup``; None if this mount does not show it."""
        root = self.root.rstrip("/")
        if member != self.root and not member.startswith(f"{root}/"):
            return None
        return self.point / member[len(root) :].lstrip("/")


def cgroup_mounts(controller: str = "", proc: Path = Path("/proc")) -> list[CgroupMount]:
    """The mounts of a version 1 controller, or of version 2 for ``""`` (proc(5), mountinfo). Raises OSError."""
    mounts = []
    for line in (proc / "self/mountinfo").read_text("utf-8", "surrogateescape").splitlines():
        fields, _, kind = line.partition(" - ")
        of_controller = kind.startswith("cgroup ") and controller in kind.rpartition(" ")[2].split(",")
        if of_controller if controller else kind.startswith("cgroup2 "):
            root, point = map(_unescaped, fields.split()[3:5])
            mounts.append(CgroupMount(root, Path(point)))
    return mounts


def _unescaped(path: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), path)
