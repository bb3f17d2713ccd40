"""The mechanisms that the tests run with: all that this host gives."""

from __future__ import annotations

import os
import re
import sys

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


def _sees_inits() -> bool:
    """Whether this user sees what lives in a namespace whose init is ending (docs/pid-namespace.md)."""
    if sys.platform != "linux":
        return False
    return os.geteuid() == 0 or tuple(map(int, re.findall(r"\d+", os.uname().release)[:2])) >= (6, 11)


#: The one that has to be asked for by name, if this host gives it whole.
INSIDE: list[Mechanism] = ["pid_namespace"] if _sees_inits() and _works("pid_namespace") else []
