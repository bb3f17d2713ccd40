"""The processes of this system: for looking at, and for signalling what was looked at."""

from __future__ import annotations

import sys

from .procfs import CpuTimes, ProcessInfo

# On Windows trees are asked for their members by the job; nothing of this is called there.
if sys.platform in ("linux", "win32"):
    from .procfs import environment, find, get_process, iter_pids, kill_if, now, signal_if, snapshot, spent, tick
else:
    from .kinfo import environment, find, get_process, iter_pids, kill_if, now, signal_if, snapshot, spent, tick

__all__ = [
    "CpuTimes",
    "ProcessInfo",
    "environment",
    "find",
    "get_process",
    "iter_pids",
    "kill_if",
    "now",
    "signal_if",
    "snapshot",
    "spent",
    "tick",
]
