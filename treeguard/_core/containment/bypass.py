"""Ending a tree past its guard, when the guard is alive and does not obey.

Any process of the same user can stop a guard, again and again, or deprive it of a processor. But a guard that does
nothing still adopts every orphan. Its whole tree descends from it and can be found by parentage.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from .. import native_processes
from ..processes.namespaces import is_ending, is_init
from ..processes.system import ProcessInfo, is_still, kill_if
from .proc_scanner import SearchTarget, Snapshot

__all__ = ["Bypass"]

#: This many looks in a row with nothing alive and nothing changed prove that nothing is left.
_SAME_LOOKS = 2
#: How many milliseconds a look spends on processes that fork and exit faster than a look can find them.
_CHASE = 20


class Bypass(SearchTarget):
    """Everything that descends from a guard, and everything in its tree's cgroup.

    Nothing is left when two looks in a row find nothing alive below the guard and the same dead processes, and the
    guard has reaped no process in between. A process that was alive when the second look began, but was not seen alive,
    ended before the look came to it. It is then either among the dead, where the first look did not find it, or the
    guard has reaped it since. Both would have changed the result.
    """

    def __init__(
        self, guard: int, empty_cgroup: Callable[[], bool] | None = None, *, stranger: int | None = None
    ) -> None:
        """``empty_cgroup`` kills the cgroup and returns whether it is gone.

        ``guard`` is a child of this process, or a ``stranger`` that was started at that tick.
        """
        self._guard = guard
        self._stranger = stranger is not None
        self._started = stranger
        self._empty_cgroup = empty_cgroup
        self._cgroup_gone = True
        self._last: tuple[object, ...] | None = None
        self._same = 0
        self._below = 0

    def begin_look(self, now: Snapshot) -> None:
        """See :meth:`SearchTarget.begin_look`."""
        self._cgroup_gone = self._empty_cgroup is None or self._empty_cgroup()
        below = now.below(self._guard) if self._found(now) is not None else []
        alive = [seen for seen in below if _runs(seen, self._guard)]
        for seen in alive:
            kill_if(seen.pid, partial(is_still, seen))
        if alive or len(below) > self._below:
            native_processes.chase(self._guard, _CHASE)
        self._below = len(below)

    def end_look(self, now: Snapshot, ended: bool) -> bool:
        """See :meth:`SearchTarget.end_look`. Stops if the guard cannot be seen: nothing else leads to the tree."""
        guard = self._found(now)
        if guard is None:
            return False
        below = now.below(self._guard)
        looked = (guard.reaped, *sorted((seen.pid, seen.started) for seen in below))
        if any(_runs(seen, self._guard) for seen in below) or not self._cgroup_gone:
            self._same = 0
        else:
            self._same = self._same + 1 if looked == self._last else 1
        self._last = looked
        quiet = self._same >= _SAME_LOOKS
        # Where /proc hides init, it also hides processes of other users, which a tree may contain (proc(5), hidepid).
        self.proved = quiet and 1 in now.by_pid
        return not quiet

    def _found(self, now: Snapshot) -> ProcessInfo | None:
        """The guard; None if another process has its id by now, since that one's descendants are not the tree's.

        Also None if the guard is dead: another process has adopted its orphans then. A guard may stay dead and unreaped
        for long, because a tracer keeps the parent of its tracee from reaping it (ptrace(2)).
        """
        guard = now.by_pid.get(self._guard)
        if guard is None or self._started not in (None, guard.started):
            return None
        if not self._stranger and guard.parent != os.getpid():
            return None
        if not guard.alive:
            return None
        self._started = guard.started
        return guard


def _runs(seen: ProcessInfo, guard: int) -> bool:
    """Whether a process is alive. The init of a namespace that was killed may wait for its guard to reap the root."""
    return seen.alive and not (seen.parent == guard and is_init(seen.pid) and is_ending(seen.pid))
