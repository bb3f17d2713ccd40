"""The processes of a tree, as the system shows them at one moment."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Container, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

from ..cgroup.below import living_in
from ..processes.asking import ask_if
from ..processes.namespaces import inner_number, is_init, is_inside, namespace_below
from ..processes.system import ProcessInfo, get_process, signal_if, snapshot

__all__ = ["Members", "MembersOfGroup", "MembersOfLeaf", "MembersUnderGuard"]

#: The name of every guard.
_GUARD = "treeguard-guard"
#: The longest chain of parents to follow. It may change during the look, and even become circular.
_MAX_DEPTH = 4096


class Members(ABC):
    """The members of a tree. Each call looks them up, and they may change before it returns."""

    @abstractmethod
    def pids(self) -> tuple[int, ...]:
        """All live members, parents before their children. Looks at every process: milliseconds for hundreds."""

    @abstractmethod
    def has(self, pid: int) -> bool:
        """Whether a live process is a member. Takes a few microseconds for each of its ancestors."""

    def has_unnumbered(self) -> bool:
        """Whether some live members have no number in this PID namespace, so that :meth:`pids` leaves them out."""
        return False

    def init(self) -> int | None:
        """The process id of the init that reaps orphans in the tree's PID namespace; None if there is none."""
        return None

    def unreaped(self) -> tuple[ProcessInfo, ...]:
        """Dead processes that a tree's end waits for: they joined it from outside, and their parents are there."""
        return ()

    def look(self, pid: int) -> ProcessInfo | None:
        """The process of a number that :meth:`pids` returned; None if it has ended."""
        return get_process(pid)

    def living(self) -> Iterator[ProcessInfo]:
        """The live members that can be seen: none of them where there is no list of processes."""
        with suppress(FileNotFoundError):
            yield from (seen for seen in map(self.look, self.pids()) if seen is not None and seen.alive)

    def holds(self, pid: int, pipes: Collection[str]) -> bool | None:
        """Whether a member holds one of the pipes, given by their identity. None: its descriptors cannot be seen."""
        from .left import holds

        return holds(pid, pipes)

    def signal_root(self, pid: int, parent: int, number: int, *, ask: bool = False) -> None:
        """Signals a root if it still is the child of ``parent``: see :func:`.single.signal_child`."""
        from .single import signal_child

        signal_child(pid, parent, number, ask=ask)

    def signal_one(self, pid: int, number: int, *, ask: bool = False) -> bool:
        """Signals a process if it is a member. Returns whether it is, and could be signalled.

        ``ask``: the signal asks for an end, so a stopped process goes on to hear it.
        """
        return (ask_if if ask else signal_if)(pid, number, partial(self.has, pid))

    def signal_outside(self, groups: Container[int], number: int, *, ask: bool = False) -> None:
        """Signals the members that are in none of these process groups and may be signalled, each by its handle.

        ``ask``: only those of :meth:`asked`.
        """
        for seen in self.asked() if ask else filter(None, map(self.look, self.pids())):
            if seen.group not in groups:
                self.signal_one(seen.pid, number, ask=ask)

    def asked(self) -> Iterator[ProcessInfo]:
        """The live members that are to be asked to end, one by one.

        A tree within, with a guard of its own, is left out: its supervisor is asked, and asks it.
        """
        within: set[int] = set()
        for seen in self.living():
            # Parents come before their children.
            if seen.name == _GUARD or seen.parent in within:
                within.add(seen.pid)
            else:
                yield seen


class MembersUnderGuard(Members):
    """All descendants of a guard, which has adopted the orphans, and who joined their PID namespace from outside."""

    def __init__(self, guard: int) -> None:
        self._guard = guard

    def pids(self) -> tuple[int, ...]:
        """See :meth:`Members.pids`."""
        everyone = _everyone()
        living = {pid: seen for pid, seen in everyone.items() if seen.alive}
        below = tuple(_below(living, self._guard))
        init = next((pid for pid in below if self._is_init(living[pid])), None)
        if init is None:
            return below
        return tuple(pid for pid in (*below, *_joined(init, below, living)) if pid != init)

    def has(self, pid: int) -> bool:
        """See :meth:`Members.has`."""
        seen = get_process(pid)
        if seen is None or not seen.alive or self._is_init(seen):
            return False
        return _descends(pid, self._guard) or (inner_number(pid) > 0 and pid in self.pids())

    def unreaped(self) -> tuple[ProcessInfo, ...]:
        """See :meth:`Members.unreaped`."""
        init, everyone = self.init(), _everyone()
        if init is None:
            return ()
        found = _joined(init, tuple(_below(everyone, self._guard)), everyone)
        seen = (get_process(pid) for pid in found if not everyone[pid].alive)
        return tuple(each for each in seen if each is not None)

    def init(self) -> int | None:
        """See :meth:`Members.init`."""
        return next((seen.pid for seen in _everyone().values() if seen.alive and self._is_init(seen)), None)

    def _is_init(self, seen: ProcessInfo) -> bool:
        """Whether a process is no member, but the init of the tree's PID namespace."""
        return seen.parent == self._guard and is_init(seen.pid)


class MembersOfLeaf(Members):
    """All processes in a cgroup, and those that were moved out of it but descend from the guard."""

    def __init__(self, leaf: Path, guard: int) -> None:
        self._leaf = leaf
        self._under = MembersUnderGuard(guard)

    def pids(self) -> tuple[int, ...]:
        """See :meth:`Members.pids`."""
        # 0 stands for processes that have no number in this namespace.
        return tuple(dict.fromkeys((*self._under.pids(), *sorted(living_in(self._leaf) - {0}))))

    def has(self, pid: int) -> bool:
        """See :meth:`Members.has`."""
        return self._under.has(pid) or (pid > 0 and pid in living_in(self._leaf))

    def has_unnumbered(self) -> bool:
        """See :meth:`Members.has_unnumbered`."""
        return 0 in living_in(self._leaf)

    def init(self) -> int | None:
        """See :meth:`Members.init`."""
        return self._under.init()

    def unreaped(self) -> tuple[ProcessInfo, ...]:
        """See :meth:`Members.unreaped`."""
        return self._under.unreaped()


class MembersOfGroup(Members):
    """A root's group and the root's descendants. A process that has left both looks like a stranger."""

    def __init__(self, root: int) -> None:
        self._root = root

    def pids(self) -> tuple[int, ...]:
        """See :meth:`Members.pids`."""
        living = {pid: seen for pid, seen in _everyone().items() if seen.alive}
        group = (seen.pid for seen in living.values() if seen.group == self._root)
        return tuple(dict.fromkeys((*living.keys() & {self._root}, *_below(living, self._root), *group)))

    def has(self, pid: int) -> bool:
        """See :meth:`Members.has`."""
        seen = get_process(pid)
        if seen is None or not seen.alive:
            return False
        return self._root in (seen.group, pid) or _descends(pid, self._root)


def _everyone() -> Mapping[int, ProcessInfo]:
    return {seen.pid: seen for seen in snapshot() if seen is not None}


def _below(living: Mapping[int, ProcessInfo], ancestor: int) -> Iterator[int]:
    children: dict[int, list[int]] = {}
    for seen in living.values():
        children.setdefault(seen.parent, []).append(seen.pid)
    ahead = [ancestor]
    for parent in ahead:
        found = children.pop(parent, ())
        yield from found
        ahead += found


def _joined(init: int, below: Collection[int], among: Iterable[int]) -> list[int]:
    """Which processes are in the PID namespace of an init, and not among those ``below`` its guard: see setns(2)."""
    namespace = namespace_below((init, *below))
    return [pid for pid in sorted(set(among) - set(below)) if is_inside(pid, namespace, init)]


def _descends(pid: int, ancestor: int) -> bool:
    """Whether a live process has an ancestor. Starts again if one in the chain ends, since its children move."""
    start = get_process(pid)
    seen = start
    for _ in range(_MAX_DEPTH):
        if start is None or not start.alive:
            return False
        if seen is None:
            seen = start = get_process(pid)
        elif seen.parent == ancestor:
            return True
        elif seen.parent == 0:
            return False
        else:
            seen = get_process(seen.parent)
    return False
