"""The mechanisms that the tests run with: all that this host gives."""

from __future__ import annotations

from treeguard import ContainmentUnavailable, LocalProcessManager
from treeguard.types import Mechanism

__all__ = ["CONTAINING", "EVERY"]


def _works(mechanism: Mechanism) -> bool:
    try:
        return LocalProcessManager(containment=mechanism).containment.mechanism == mechanism
    except ContainmentUnavailable:
        return False


#: The mechanisms that end escapees too. Not every host has a cgroup for the tests.
CONTAINING: list[Mechanism] = ["cgroup", "subreaper"] if _works("cgroup") else ["subreaper"]

EVERY: list[Mechanism] = [*CONTAINING, "process_group"]

#: The one that has to be asked for by name, if this host gives it.
INSIDE: list[Mechanism] = ["pid_namespace"] if _works("pid_namespace") else []
