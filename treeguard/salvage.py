"""Ending what can still be found of a tree whose guard is gone."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

__all__ = ["Remains"]

_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")


class _Stat(NamedTuple):
    state: str
    group: int
    started: float


def _stat(pid: int) -> _Stat | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # proc(5): the name may hold anything, so fields are counted from its last parenthesis.
    fields = text[text.rindex(")") + 2 :].split()
    return _Stat(fields[0], int(fields[2]), int(fields[19]) / _TICKS)


class Remains:
    """What can be found of a tree whose guard is gone: its cgroup, if it has one, and its root's group.

    The guard's end sends SIGKILL to the root, but not to the rest of its group. The group's number is taken as long as
    it has a member, so a process that has it as its *process id* and started later is a stranger, and so is its group.
    """

    def __init__(self, root: int, empty_cgroup: Callable[[], bool] | None = None) -> None:
        """``root`` must have started before now. ``empty_cgroup`` kills what is in it and tells whether it is gone."""
        self._root = root
        self._empty_cgroup = empty_cgroup
        self._noticed = time.clock_gettime(time.CLOCK_BOOTTIME)

    @property
    def provable(self) -> bool:
        """Whether it can be proved that nothing is left: a cgroup holds all, wherever it went."""
        return self._empty_cgroup is not None

    def kill(self) -> int:
        """Kills what is found now. Returns how much that was; 0: nothing is left that could be found."""
        found = 0 if self._empty_cgroup is None or self._empty_cgroup() else 1
        if not self._root or self._taken_over():
            return found
        for entry in os.listdir(_PROC):  # noqa: PTH208 - numbers are wanted, not paths
            if entry.isdecimal() and self._kill_member(int(entry)):
                found += 1
        return found

    def _taken_over(self) -> bool:
        leader = _stat(self._root)
        return leader is not None and leader.started > self._noticed + 1 / _TICKS

    def _kill_member(self, pid: int) -> bool:
        if not self._is_member(pid):
            return False
        try:
            handle = os.pidfd_open(pid)
        except OSError:
            return False
        try:
            # Looked at again with the handle in hand: what was looked at is what is signalled.
            if not self._is_member(pid) or self._taken_over():
                return False
            signal.pidfd_send_signal(handle, signal.SIGKILL)
        except OSError:
            return False
        finally:
            os.close(handle)
        return True

    def _is_member(self, pid: int) -> bool:
        stat = _stat(pid)
        return stat is not None and stat.group == self._root and stat.state not in "ZX"
