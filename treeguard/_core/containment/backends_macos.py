"""Containment on macOS: process groups, with guards that walk the tree.

No process can adopt orphans there. A guard ends the root's group, and the descendants that it finds by walking the
process table. It does not find a descendant that left the group and lost its parent, so none of this is claimed as a
guarantee.
"""

from __future__ import annotations

import msgspec

from ...types import Mechanism
from .backend import Backend
from .backends import SubreaperBackend
from .guarantees import Containment

__all__ = ["achieved", "backend_for", "try_out"]

_REASONS: dict[Mechanism, str] = {
    "pid_namespace": "PID namespaces are of Linux",
    "cgroup": "cgroups are of Linux",
    "subreaper": "macOS lets no process adopt orphans",
    "job_object": "job objects are of Windows",
}


def try_out(mechanism: Mechanism) -> str | None:
    """None for a process group, which every POSIX system has, otherwise the reason why the mechanism is unavailable."""
    return _REASONS.get(mechanism)


def achieved(containment: Containment) -> Containment:
    """The guarantees of a process group with a guard. What the guard attempts beyond the group is advisory."""
    return msgspec.structs.replace(
        containment,
        atomic_kill=False,
        outlives_guard=False,
        memory_limit=None,
        advisory=("contains_escapees", "outlives_supervisor"),
    )


def backend_for(containment: Containment) -> Backend:
    """The backend that a manager starts its trees with."""
    del containment
    return SubreaperBackend(adopts=False)
