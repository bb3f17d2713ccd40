"""Proving that nothing is left of a tree in a PID namespace whose guard is gone. The kernel has killed it."""

from __future__ import annotations

import select

from ..native import Descriptor
from ..processes.namespaces import inits_are_told, is_ending, is_inside, namespace_of, pid_of
from .proc_scanner import SearchTarget, Snapshot

__all__ = ["LostInside"]


class LostInside(SearchTarget):
    """What can be found of such a tree, by the means of its backend, and its init.

    The end of a guard ends the init, and that ends the others. The init itself waits until all have been reaped, by
    whoever adopted those that were children of the guard. Not everybody who adopts processes reaps them. So it also
    proves that nothing is left if no living process is in the namespace of an init that is ending: nobody can enter
    that any more.
    """

    def __init__(self, found: SearchTarget, init: Descriptor) -> None:
        self._found, self._init = found, init
        self.root, self.mark, self.since = found.root, found.mark, found.since

    def begin_look(self, now: Snapshot) -> None:
        """See :meth:`SearchTarget.begin_look`."""
        self._found.begin_look(now)

    def strike(self, pid: int) -> None:
        """See :meth:`SearchTarget.strike`."""
        self._found.strike(pid)

    def taken_over(self) -> bool:
        """See :meth:`SearchTarget.taken_over`."""
        return self._found.taken_over()

    def end_look(self, now: Snapshot, ended: bool) -> bool:
        """See :meth:`SearchTarget.end_look`."""
        again = self._found.end_look(now, ended)
        self.proved = not again and self._is_empty(now)
        return not self.proved

    def _is_empty(self, now: Snapshot) -> bool:
        if self._has_ended():
            return True
        init = pid_of(self._init.number)
        # Recent kernels show the namespace of an init that is ending to root alone.
        namespace = namespace_of(init)
        if not is_ending(init) or (namespace is None and not inits_are_told()):
            return False
        others = (seen.pid for seen in now.everyone if seen.alive and seen.pid != init)
        return not any(is_inside(pid, namespace, init) for pid in others)

    def _has_ended(self) -> bool:
        ready = select.poll()
        ready.register(self._init.number, select.POLLIN)
        return bool(ready.poll(0))
