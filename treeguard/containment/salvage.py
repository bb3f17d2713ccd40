"""Ending what can still be found of a tree whose guard is gone."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from ..processes import Seen, environment, everybody, find, kill_if, look_at, now, tick

__all__ = ["Lookout", "Remains"]

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
        self.root = 0 if root in (1, os.getpgrp()) else root
        self.mark = mark
        self._empty_cgroup = empty_cgroup
        self._found = False
        self._quiet_looks = self._looks = 0
        self._started = now() - age

    @property
    def provable(self) -> bool:
        """Whether it can be proved that nothing is left: a cgroup holds all, wherever it went."""
        return self._empty_cgroup is not None

    def begin_look(self) -> None:
        """Kills what is in the cgroup."""
        self._found = self._empty_cgroup is not None and not self._empty_cgroup()

    def strike(self, pid: int) -> None:
        """Kills a process that was found to belong to it, if it still does."""
        self._found = self._strike(pid) or self._found

    def end_look(self, ended: bool) -> bool:
        """Whether to look again. ``ended``: somebody has, since the last look, of whom nothing is known.

        In its exec a process carries no mark for a moment; and one that was listed and has ended may have left a child
        that was not. So a look counts as quiet only if nobody ended meanwhile, but not for ever: others end too.
        """
        self._looks = 0 if self._found else self._looks + 1
        self._quiet_looks = 0 if self._found or ended else self._quiet_looks + 1
        return self._quiet_looks < _QUIET_LOOKS and self._looks < _LOOKS

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
        if member.group == self.root:
            return not self.taken_over()
        leader = look_at(member.session)
        return member.session != os.getsid(0) and (leader is None or not leader.alive or self._belongs(leader.pid))

    def _belongs(self, pid: int) -> bool:
        return self._is_member(pid) or (bool(self.mark) and b"\0" + self.mark in environment(pid))

    def _is_member(self, pid: int) -> bool:
        seen = look_at(pid) if self.root else None
        return seen is not None and seen.group == self.root and seen.alive and not self.taken_over()

    def taken_over(self) -> bool:
        """Whether the root's number is a stranger's now; also where that cannot be told, for he must not be struck."""
        try:
            leader = find(self.root)
        except OSError:
            return True
        return leader is not None and leader.started * tick() > self._started + tick()


class Lookout:
    """Looks at all processes of the host, once for all trees that have lost their guards."""

    def __init__(self) -> None:
        self._dead: set[int] = set()

    def look(self, every: Sequence[Remains]) -> list[Remains]:
        """Kills what is found now. Those for which to look again.

        The newest first, and at once: one that forks on and ends is gone when thousands of others have been seen.
        """
        for one in every:
            one.begin_look()
        try:
            everyone = sorted(everybody(), reverse=True)
        except FileNotFoundError:  # no /proc
            ended = False
        except OSError:  # too few descriptors to look now
            return list(every)
        else:
            ended = self._look_at_each(everyone, every)
        return [one for one in every if one.end_look(ended)]

    def _look_at_each(self, everyone: Sequence[int], every: Sequence[Remains]) -> bool:
        """Whether somebody has ended of whom nothing is known. The dead of before, whom nobody reaped, are no news."""
        owners = _Owners(every)
        dead, vanished = set(), False
        for pid in everyone:
            seen = look_at(pid)
            if seen is None:
                vanished = True
            elif seen.alive:
                for one in owners.of(seen):
                    one.strike(pid)
            else:
                dead.add(pid)
        news = vanished or not dead <= self._dead
        self._dead = dead
        return news


class _Owners:
    """Whose a process may be, told by one look."""

    def __init__(self, every: Sequence[Remains]) -> None:
        self._by_group = {one.root: one for one in every if one.root}
        self._by_mark = {one.mark: one for one in every if one.mark}
        # One pattern: few processes carry any mark, and there may be thousands of marks.
        self._marks = re.compile(b"\0(" + b"|".join(map(re.escape, self._by_mark)) + b")")

    def of(self, seen: Seen) -> Iterator[Remains]:
        member = self._by_group.get(seen.group)
        if member is not None and not member.taken_over():
            yield member
        if self._by_mark:
            yield from (self._by_mark[mark] for mark in self._marks.findall(environment(seen.pid)))


def _kill_group(group: int) -> bool:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
        return True
    return False
