"""The functions that look at processes and signal them, of this system."""

from __future__ import annotations

import sys

from .proc_details import CpuTimes
from .process import ProcessInfo

# On Windows the job lists a tree's members, and none of these functions is called.
if sys.platform in ("linux", "win32"):
    from .listing import iter_pids, snapshot
    from .proc_details import environment, spent
    from .process import find, get_process, now, tick
    from .signals import kill_if, signal_if
else:
    from .kinfo import environment, find, get_process, iter_pids, kill_if, now, signal_if, snapshot, spent, tick

__all__ = [
    "CpuTimes",
    "ProcessInfo",
    "environment",
    "find",
    "get_process",
    "is_still",
    "iter_pids",
    "kill_if",
    "now",
    "signal_if",
    "snapshot",
    "spent",
    "tick",
]


def is_still(seen: ProcessInfo) -> bool:
    """Whether a process id still belongs to the process that was seen."""
    found = get_process(seen.pid)
    return found is not None and found.started == seen.started
