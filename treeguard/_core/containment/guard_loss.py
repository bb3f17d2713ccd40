"""Ending what can still be found of a tree whose guard is gone."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Collection
from functools import partial
from typing import NamedTuple

from ..processes import ProcessInfo, environment, find, get_process, kill_if, now, tick
from .proc_scanner import SearchTarget, Snapshot

__all__ = ["LostTree", "OrphanedTree"]

#: So many looks at which nothing was found end the search: quiet ones, and any.
_QUIET_LOOKS = 2
_LOOKS = 20
#: After so many seconds in which nothing was found two looks are enough, quiet or not: among thousands each takes long.
_SECONDS = 2.0
#: Ticks of the clock that a start may be told too early or too late.
_SLACK = 2


class LostTree(NamedTuple):
    """What is known of a tree that has lost its guard."""

    #: The process id of its root, 0 if that never ran.
    root: int
    #: The tree's number.
    tag: int
    #: How many seconds ago the root was seen to have started, at the latest.
    age: float
    #: How many seconds ago nothing of the tree was there yet.
    spawned: float
    #: Children of this process that are not of the tree.
    others: Callable[[], Collection[int]] = tuple


class OrphanedTree(SearchTarget):
    """What can be found of a tree whose guard is gone: its cgroup, its root's group, and who carries its mark.

    The guard's end sends SIGKILL to the root, but not to the rest of its group. The group's number is taken as long as
    it has a member, so a process that has it as its *process id* and started later is a stranger, and so is its group.
    """

    def __init__(self, traces: LostTree, *, mark: bytes = b"", empty_cgroup: Callable[[], bool] | None = None) -> None:
        """``empty_cgroup`` kills what is in it and tells whether it is gone.

        ``mark`` is the beginning of a string in the environment of those that did not clear it; none where it is empty.
        A root that cannot be one, since its group is init's or our own, is what a guard said that had gone mad.
        """
        self.root = 0 if traces.root in (1, os.getpgrp()) else traces.root
        self.mark = mark
        self.since = (now() - traces.spawned) / tick() - _SLACK
        self._others = traces.others
        self._empty_cgroup = empty_cgroup
        self._found = False
        self._quiet_looks = self._looks = 0
        self._until = time.monotonic() + _SECONDS
        self._started = now() - traces.age

    def begin_look(self, now: Snapshot) -> None:
        """Kills what is in the cgroup."""
        self._found = self._empty_cgroup is not None and not self._empty_cgroup()

    def strike(self, pid: int) -> None:
        """Kills a process that was found to belong to it, if it still does."""
        self._found = self._strike(pid) or self._found

    def end_look(self, now: Snapshot, ended: bool) -> bool:
        """Whether to look again. ``ended``: somebody has, since the last look, of whom nothing is known.

        In its exec a process carries no mark for a moment; and one that was listed and has ended may have left a child
        that was not. So a look counts as quiet only if nobody ended meanwhile, but not for ever: others end too.

        An empty cgroup proves that nothing is left, unless a process had left it. That one would be an orphan now,
        since there is no guard any more that it could fall to.
        """
        if self._found:
            self._until = time.monotonic() + _SECONDS
        self._looks = 0 if self._found else self._looks + 1
        self._quiet_looks = 0 if self._found or ended else self._quiet_looks + 1
        again = self._quiet_looks < _QUIET_LOOKS and self._looks < _LOOKS
        again = again and (self._found or self._looks < _QUIET_LOOKS or time.monotonic() < self._until)
        if not again and self._empty_cgroup is not None:
            self.proved = not now.may_be_orphans(self.since, self._others())
        return again

    def _strike(self, pid: int) -> bool:
        """False if it cannot be killed. Who forks on may be gone before it is hit, but its group is not.

        No fork gets away from a signal to all of a group. The number of a group is taken as long as it has a member
        (setpgid(2)), so it cannot become another's while one goes on forking in it.
        """
        seen = get_process(pid)
        struck = seen is None or (self._is_ours(seen) and _kill_group(seen.group))
        return kill_if(pid, partial(self._belongs, pid)) or struck or get_process(pid) is None

    def _is_ours(self, member: ProcessInfo) -> bool:
        """Whether all of a member's group are the tree's: it is the root's, or in a session that one of them began.

        Processes get into a session by being born in it alone (setsid(2)). The supervisor's holds strangers. A group
        that has no number in this namespace is shown as 0, which would mean the supervisor's own to killpg(3).
        """
        if not member.group:
            return False
        if member.group == self.root:
            return not self.taken_over()
        leader = get_process(member.session)
        return member.session != os.getsid(0) and (leader is None or not leader.alive or self._belongs(leader.pid))

    def _belongs(self, pid: int) -> bool:
        return self._is_member(pid) or (bool(self.mark) and b"\0" + self.mark in environment(pid))

    def _is_member(self, pid: int) -> bool:
        seen = get_process(pid) if self.root else None
        return seen is not None and seen.group == self.root and seen.alive and not self.taken_over()

    def taken_over(self) -> bool:
        """Whether the root's number is a stranger's now; also where that cannot be told, for he must not be struck."""
        try:
            leader = find(self.root)
        except OSError:
            return True
        return leader is not None and leader.started * tick() > self._started + tick()


def _kill_group(group: int) -> bool:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
        return True
    return False
