"""Ending the processes that can still be found of a tree whose guard is gone."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Collection
from functools import partial
from typing import NamedTuple

from ..processes.system import ProcessInfo, environment, find, get_process, kill_if, now, tick
from .proc_scanner import SearchTarget, Snapshot

__all__ = ["LostTree", "OrphanedTree"]

#: The search ends after this many quiet looks that found nothing, or after this many looks of any kind.
_QUIET_LOOKS = 2
_LOOKS = 20
#: After this many seconds without a find, two looks suffice, quiet or not: each takes long among thousands of
#: processes.
_SECONDS = 2.0
#: How many ticks a reported start time may be too early or too late.
_SLACK = 2


class LostTree(NamedTuple):
    """The known facts about a tree that has lost its guard."""

    #: The process id of its root; 0 if the root never ran.
    root: int
    #: The tree's number.
    tag: int
    #: How many seconds ago the root had started at the latest.
    age: float
    #: How many seconds ago no process of the tree existed yet.
    spawned: float
    #: The children of this process that do not belong to the tree.
    others: Callable[[], Collection[int]] = tuple


class OrphanedTree(SearchTarget):
    """What can be found of a tree whose guard is gone: its cgroup, its root's group, and the processes with its mark.

    When the guard ends, the root gets SIGKILL, but the rest of its group does not. A group's number stays taken while
    the group has a member. So a process with that number as its *process id* and a later start is a stranger, and so is
    its group.
    """

    def __init__(self, traces: LostTree, *, mark: bytes = b"", empty_cgroup: Callable[[], bool] | None = None) -> None:
        """``empty_cgroup`` kills the cgroup and returns whether it is gone.

        ``mark`` is the beginning of a string in the environment of the processes that did not clear it; empty for none.
        If the root's group is init's or our own, a guard that went wrong has reported it, and the root is ignored.
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
        """Kills every process in the cgroup."""
        self._found = self._empty_cgroup is not None and not self._empty_cgroup()

    def strike(self, pid: int) -> None:
        """Kills a process that was found to belong to the tree, if it still does."""
        self._found = self._strike(pid) or self._found

    def end_look(self, now: Snapshot, ended: bool) -> bool:
        """Whether to look again. ``ended``: an unknown process has ended since the last look.

        A process shows no mark for a moment during its exec, and a listed process that has ended may have left an
        unlisted child. So a look counts as quiet only if no process ended in the meantime. Strangers end too, so the
        search does not wait for quiet looks forever.

        An empty cgroup proves that nothing is left, unless a process had left the cgroup. That process would be an
        orphan now, since there is no guard left to adopt it.
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
        """Kills a process and its group; False if it cannot. A process that keeps forking may exit before the signal.

        Its group still exists then, and no fork escapes a signal to a whole group. A group's number stays taken while
        the group has a member (setpgid(2)), so no other group gets it while a process keeps forking in this one.
        """
        seen = get_process(pid)
        struck = seen is None or (self._is_ours(seen) and _kill_group(seen.group))
        return kill_if(pid, partial(self._belongs, pid)) or struck or get_process(pid) is None

    def _is_ours(self, member: ProcessInfo) -> bool:
        """Whether the whole group of a member is the tree's: the root's group, or one in a session that the tree began.

        A process enters an existing session only by being born in it (setsid(2)). The supervisor's session contains
        strangers. A group without a number in this namespace appears as 0, and killpg(3) would take 0 as the
        supervisor's own group.
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
        """Whether a stranger has the root's number now. True if that is unknown: a stranger must not be killed."""
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
