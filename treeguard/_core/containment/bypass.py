"""Ending a tree over the head of its guard, which lives and does not do what it was told.

Any process of the same user can stop a guard, again and again, or leave it without a processor. But a guard that does
nothing still adopts every orphan: all of its tree descends from it, so all of it is found by parentage.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from ..processes import ProcessInfo, get_process, kill_if
from .proc_scanner import SearchTarget, Snapshot

__all__ = ["Bypass"]

#: So many looks in a row at which nothing lived, and nothing had changed, prove that nothing is left.
_SAME_LOOKS = 2


class Bypass(SearchTarget):
    """What descends from a guard, and what is in its tree's cgroup.

    Nothing is left when two looks in a row find nothing alive below the guard and the same dead, while the guard has
    reaped nobody. What lived when the second one began, and was not seen alive, had ended before it was looked at. Then
    it is among the dead that the first look did not find, or the guard has reaped it since.
    """

    def __init__(self, guard: int, empty_cgroup: Callable[[], bool] | None = None) -> None:
        """``guard`` is a child of this process. ``empty_cgroup`` kills what is in it; whether it is gone."""
        self._guard = guard
        self._started: int | None = None
        self._empty_cgroup = empty_cgroup
        self._cgroup_gone = True
        self._last: tuple[object, ...] | None = None
        self._same = 0

    def begin_look(self, now: Snapshot) -> None:
        """See :meth:`Sought.begin_look`."""
        self._cgroup_gone = self._empty_cgroup is None or self._empty_cgroup()
        for seen in now.below(self._guard) if self._found(now) is not None else ():
            if seen.alive:
                kill_if(seen.pid, partial(_is_still, seen))

    def end_look(self, now: Snapshot, ended: bool) -> bool:
        """See :meth:`Sought.end_look`. Without a guard to be seen there is nothing to go by."""
        guard = self._found(now)
        if guard is None:
            return False
        below = now.below(self._guard)
        looked = (guard.reaped, *sorted((seen.pid, seen.started) for seen in below))
        if any(seen.alive for seen in below) or not self._cgroup_gone:
            self._same = 0
        else:
            self._same = self._same + 1 if looked == self._last else 1
        self._last = looked
        quiet = self._same >= _SAME_LOOKS
        # Where /proc hides init it hides processes of other users, which a tree may have (proc(5), hidepid).
        self.proved = quiet and 1 in now.by_pid
        return not quiet

    def _found(self, now: Snapshot) -> ProcessInfo | None:
        """The guard. None also where its number is another's by now: nothing below that one is the tree's.

        And where it is dead: what it had adopted is somebody else's then. It may stay so for long, for whoever traces a
        process keeps its parent from reaping it (ptrace(2)).
        """
        guard = now.by_pid.get(self._guard)
        if guard is None or guard.parent != os.getpid() or self._started not in (None, guard.started):
            return None
        if not guard.alive:
            return None
        self._started = guard.started
        return guard


def _is_still(seen: ProcessInfo) -> bool:
    found = get_process(seen.pid)
    return found is not None and found.started == seen.started
