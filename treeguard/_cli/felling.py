"""Ending guarded trees from outside, as another process of the same user (Linux).

A guard takes orders from its supervisor alone. But it adopts every orphan of its tree and reaps it, and ends when the
tree is empty. So it is enough to kill what descends from it, look by look, as is done when a guard does not obey.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from pathlib import Path

from .._core.cgroup.cgroups import own_cgroup
from .._core.cgroup.emptying import empty
from .._core.containment.bypass import Bypass
from .._core.containment.proc_scanner import ProcScanner
from .._core.inspection.asking import Asker
from .._core.inspection.members import MembersUnderGuard
from .._core.inspection.survivors import described
from .._core.processes.system import ProcessInfo, get_process, is_still, signal_if
from .forest import leaf_of
from .guards import Guard, find_guards, root_of

__all__ = ["Felling", "find"]

#: How many seconds what was killed has to be gone, and a guard whose tree is empty.
_KILL_PATIENCE, _GUARD_PATIENCE = 10.0, 2.0
#: The pause between looks, in seconds: the first, and the longest.
_FIRST_LOOK, _LAST_LOOK = 0.01, 0.2


def find(ids: Iterable[str]) -> tuple[list[Guard], list[str]]:
    """The guards of these trees, and the ids for which there is none. Raises OSError if processes cannot be seen."""
    guards = find_guards()
    found: dict[int, Guard] = {}
    missing = []
    for name in ids:
        guard = next((guard for guard in guards if _is_named(guard, name)), None)
        if guard is None:
            missing.append(name)
        else:
            found[guard.pid] = guard
    return list(found.values()), missing


def _is_named(guard: Guard, name: str) -> bool:
    pid, _, started = name.partition(".")
    if started:
        return (guard.pid, guard.process.started) == (int(pid), int(started))
    if guard.pid == int(pid):
        return True
    root = get_process(int(pid))
    return root is not None and root.parent == guard.pid and root_of(guard, iter((root,))) is not None


def _with_children(chosen: Iterable[Guard], guards: Collection[Guard]) -> list[Guard]:
    """Adds the trees that have one of these as their parent. Children come before their parents."""
    found = list(chosen)
    for guard in found:
        found += [
            other
            for other in guards
            if other not in found
            and other.parent == guard.tree != 0
            and (other.user, other.owner, other.manager) == (guard.user, guard.owner, guard.manager)
        ]
    return found[::-1]


class _Descendants(MembersUnderGuard):
    """What descends from a guard, as long as that is the guard that was found."""

    def __init__(self, guard: Guard) -> None:
        super().__init__(guard.pid)
        self._process = guard.process

    def has(self, pid: int) -> bool:
        return pid != os.getpid() and is_still(self._process) and super().has(pid)


class Felling:
    """Ends some trees, together."""

    def __init__(self, chosen: Iterable[Guard]) -> None:
        """Takes the trees of these guards, and those whose parents they are."""
        chosen = list(chosen)
        self._guards = _with_children(chosen, find_guards()) if chosen else []
        self._members = [_Descendants(guard) for guard in self._guards]

    def ask(self, number: int, grace: float) -> None:
        """Asks each member by a signal. Returns when all trees are empty, or after ``grace`` seconds."""
        for members in self._members:
            Asker(members, number).ask(lambda seen: True)
        self._wait_for_guards(self._guards, grace)

    def kill(self) -> list[str]:
        """Kills what is left of the trees. Returns words for each that is not empty after ten seconds."""
        for guard in self._guards:
            # One that was stopped reaps nothing.
            signal_if(guard.pid, signal.SIGCONT, partial(is_still, guard.process))
        targets = {_bypass(guard, members): i for i, (guard, members) in enumerate(self._pairs())}
        scanner = ProcScanner()
        deadline, pause = time.monotonic() + _KILL_PATIENCE, _FIRST_LOOK
        while targets:
            again = set(scanner.look(list(targets)))
            targets = {one: i for one, i in targets.items() if one in again}
            if time.monotonic() >= deadline:
                break
            if targets:
                time.sleep(pause)
                pause = min(pause * 1.2, _LAST_LOOK)
        left = [self._described(i) for i in targets.values()]
        self._wait_for_guards([g for i, g in enumerate(self._guards) if i not in targets.values()], _GUARD_PATIENCE)
        return left

    def _pairs(self) -> Iterable[tuple[Guard, _Descendants]]:
        return zip(self._guards, self._members, strict=True)

    def _described(self, number: int) -> str:
        return f"{self._guards[number].pid}: could not be ended: {described(self._members[number])}"

    @staticmethod
    def _wait_for_guards(guards: Sequence[Guard], timeout: float) -> None:
        deadline, pause = time.monotonic() + timeout, _FIRST_LOOK
        while any(map(_lives, guards)) and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(pause, left))
            pause = min(pause * 1.5, _LAST_LOOK)


def _bypass(guard: Guard, members: _Descendants) -> Bypass:
    leaf = leaf_of(guard, members.pids())
    return Bypass(guard.pid, None if leaf is None else _emptying(leaf), stranger=guard.process.started)


def _emptying(leaf: Path) -> Callable[[], bool]:
    return partial(empty, leaf, own_cgroup())


def _lives(guard: Guard) -> bool:
    seen: ProcessInfo | None = get_process(guard.pid)
    return seen is not None and seen.alive and seen.started == guard.process.started
