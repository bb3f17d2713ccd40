"""Ending what can still be found of a tree whose guard is gone."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from .procfs import TICK, everybody, kill_if, look_at

__all__ = ["Remains"]


class Remains:
    """What can be found of a tree whose guard is gone: its cgroup, if it has one, and its root's group.

    The guard's end sends SIGKILL to the root, but not to the rest of its group. The group's number is taken as long as
    it has a member, so a process that has it as its *process id* and started later is a stranger, and so is its group.
    """

    def __init__(self, root: int, empty_cgroup: Callable[[], bool] | None = None) -> None:
        """``root`` must have started before now. ``empty_cgroup`` kills what is in it and tells whether it is gone.

        A root that cannot be one, since its group is init's or our own, is what a guard said that had gone mad.
        """
        self._root = 0 if root in (1, os.getpgrp()) else root
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
        try:
            everyone = everybody()
        except FileNotFoundError:  # no /proc
            return found
        except OSError:  # too few descriptors to look now
            return found + 1
        return found + sum(self._is_member(pid) and kill_if(pid, self._meant(pid)) for pid in everyone)

    def _taken_over(self) -> bool:
        leader = look_at(self._root)
        return leader is not None and leader.started * TICK > self._noticed + TICK

    def _is_member(self, pid: int) -> bool:
        seen = look_at(pid)
        return seen is not None and seen.group == self._root and seen.alive

    def _meant(self, pid: int) -> Callable[[], bool]:
        return lambda: self._is_member(pid) and not self._taken_over()
