"""Ending what can still be found of a tree whose guard is gone."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from functools import partial

from ..processes import Seen, carries, everybody, find, kill_if, look_at, now, tick

__all__ = ["Remains"]

#: So many looks at which nothing was found end the search: quiet ones, and any.
_QUIET_LOOKS = 2
_LOOKS = 20


class Remains:
    """What can be found of a tree whose guard is gone: its cgroup, its root's group, and who carries its mark.

    The guard's end sends SIGKILL to the root, but not to the rest of its group. The group's number is taken as long as
    it has a member, so a process that has it as its *process id* and started later is a stranger, and so is its group.
    """

    def __init__(
        self, root: int, age: float, *, mark: bytes = b"", empty_cgroup: Callable[[], bool] | None = None
    ) -> None:
        """``root`` had started ``age`` seconds ago. ``empty_cgroup`` kills what is in it and tells whether it is gone.

        ``mark`` is the beginning of a string in the environment of those that did not clear it; none where it is empty.
        A root that cannot be one, since its group is init's or our own, is what a guard said that had gone mad.
        """
        self._root = 0 if root in (1, os.getpgrp()) else root
        self._mark = mark
        self._empty_cgroup = empty_cgroup
        self._quiet_looks = self._looks = 0
        self._dead: set[int] = set()
        self._started = now() - age

    @property
    def provable(self) -> bool:
        """Whether it can be proved that nothing is left: a cgroup holds all, wherever it went."""
        return self._empty_cgroup is not None

    def kill(self) -> bool:
        """Kills what is found now. Whether to look again.

        In its exec a process carries no mark for a moment; and one that was listed and has ended may have left a child
        that was not. So a look counts as quiet only if nobody ended meanwhile, but not for ever: others end too.
        """
        found, ended = self._kill_found()
        self._looks = 0 if found else self._looks + 1
        self._quiet_looks = 0 if found or ended else self._quiet_looks + 1
        return self._quiet_looks < _QUIET_LOOKS and self._looks < _LOOKS

    def _kill_found(self) -> tuple[bool, bool]:
        """Whether somebody was found who has ended, or will; whether anybody else has since the last look.

        The newest first, and at once: one that forks on and ends is gone when thousands of others have been seen.
        """
        held = self._empty_cgroup is not None and not self._empty_cgroup()
        try:
            everyone = sorted(everybody(), reverse=True)
        except FileNotFoundError:  # no /proc
            return held, False
        except OSError:  # too few descriptors to look now
            return True, False
        struck = [self._strike(pid) for pid in everyone if self._belongs(pid)]
        return held or any(struck), self._have_ended(everyone)

    def _have_ended(self, everyone: list[int]) -> bool:
        """The dead of before, which nobody has reaped, are not news."""
        before = self._dead
        seen = {pid: look_at(pid) for pid in everyone}
        self._dead = {pid for pid, one in seen.items() if one is not None and not one.alive}
        return None in seen.values() or not self._dead <= before

    def _strike(self, pid: int) -> bool:
        """False if it cannot be killed. Who forks on may be gone before it is hit, but its group is not.

        No fork gets away from a signal to all of a group. The number of a group is taken as long as it has a member
        (setpgid(2)), so it cannot become another's while one goes on forking in it.
        """
        seen = look_at(pid)
        struck = seen is None or (self._is_ours(seen) and _kill_group(seen.group))
        return kill_if(pid, partial(self._belongs, pid)) or struck or look_at(pid) is None

    def _is_ours(self, member: Seen) -> bool:
        """Whether all of a member's group are the tree's: it is the root's, or in a session that one of them began.

        Processes get into a session by being born in it alone (setsid(2)). The supervisor's holds strangers. A group
        that has no number in this namespace is shown as 0, which would mean the supervisor's own to killpg(3).
        """
        if not member.group:
            return False
        if member.group == self._root:
            return not self._taken_over()
        leader = look_at(member.session)
        return member.session != os.getsid(0) and (leader is None or not leader.alive or self._belongs(leader.pid))

    def _belongs(self, pid: int) -> bool:
        return self._is_member(pid) or (bool(self._mark) and carries(pid, self._mark))

    def _is_member(self, pid: int) -> bool:
        seen = look_at(pid) if self._root else None
        return seen is not None and seen.group == self._root and seen.alive and not self._taken_over()

    def _taken_over(self) -> bool:
        """Whether the root's number is a stranger's now; also where that cannot be told, for he must not be struck."""
        try:
            leader = find(self._root)
        except OSError:
            return True
        return leader is not None and leader.started * tick() > self._started + tick()


def _kill_group(group: int) -> bool:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
        return True
    return False
