"""The mechanisms that the tests run with: all that this host gives."""

from __future__ import annotations

from treeguard import ContainmentUnavailable, LocalProcessManager

__all__ = ["CONTAINING", "EVERY"]


def _works(mechanism: str) -> bool:
    try:
        return LocalProcessManager(containment=mechanism).containment.mechanism == mechanism
    except ContainmentUnavailable:
        return False


#: Those that end escapees too. A cgroup is not to be had everywhere.
CONTAINING = [*(["cgroup"] if _works("cgroup") else []), "subreaper"]

EVERY = [*CONTAINING, "process_group"]
