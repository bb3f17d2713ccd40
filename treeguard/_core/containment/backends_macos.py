"""What contains trees on macOS: their process groups, and guards that walk them.

No process can adopt orphans there. A guard ends the root's group and the descendants that a walk of the process table
finds; a descendant that left the group and lost its parent is not found. So nothing of it is claimed as a guarantee.
"""

from __future__ import annotations

import msgspec

from .backend import Backend
from .backends import SubreaperBackend
from .guarantees import Containment, Mechanism

__all__ = ["achieved", "backend_for", "try_out"]

_REASONS: dict[Mechanism, str] = {
    "cgroup": "cgroups are of Linux",
    "subreaper": "macOS lets no process adopt orphans",
    "job_object": "job objects are of Windows",
}


def try_out(mechanism: Mechanism) -> str | None:
    """None for a process group, which every POSIX system has, else why it is not to be had."""
    return _REASONS.get(mechanism)


def achieved(containment: Containment) -> Containment:
    """A process group with a guard: what the guard tries beyond the group is named as advisory."""
    return msgspec.structs.replace(
        containment,
        atomic_kill=False,
        outlives_guard=False,
        memory_limit=None,
        advisory=("contains_escapees", "outlives_supervisor"),
    )


def backend_for(containment: Containment) -> Backend:
    """Makes what a manager starts its trees with."""
    del containment
    return SubreaperBackend(adopts=False)
