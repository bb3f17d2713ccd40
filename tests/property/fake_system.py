"""A system without processes that is hard on the manager: its events are late, spawns are refused, guards are lost.

Its trees are those of :mod:`treeguard.testing`, and grow the same plans as the adversary program does
(:mod:`tests.support.plans`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from treeguard._core import native
from treeguard._core.containment.backend import Backend
from treeguard._core.containment.guarantees import Containment
from treeguard._core.containment.guard_loss import LostTree
from treeguard._core.containment.proc_scanner import SearchTarget
from treeguard._core.engine.engine import Core, Engine
from treeguard._core.inspection.tree import Inspection
from treeguard._core.native import CoreError, Event, Spec
from treeguard.testing._processes import SIGKILL, MemoryProcess
from treeguard.testing._system import MemoryBackend, MemorySystem
from treeguard.testing._trees import (
    MemoryAccounts,
    MemoryCore,
    MemoryFreezer,
    MemoryMembers,
    MemoryTarget,
    MemoryTree,
)
from treeguard.types import Mechanism

from ..support.plans import Node, plan

__all__ = ["FakeProcess", "FakeSystem", "FakeTree"]


class FakeProcess(MemoryProcess):
    """One of a plan."""

    def __init__(self, pid: int, node: Node, stopped: bool) -> None:
        super().__init__(pid, in_group=node.in_group, stopped=stopped)
        self.node = node

    def react(self, number: int) -> None:
        if not self.node.deaf:
            super().react(number)


class FakeTree(MemoryTree):
    """A tree of the core. Everything about it is told late: by the core, or to who looks for it."""

    def __init__(self, system: FakeSystem, core: MemoryCore) -> None:
        super().__init__(core)
        self.closing = False
        self._system = system
        self._looked_for: deque[Event] = deque()

    def grow(self, spec: Spec, tag: int, guarded: bool) -> None:
        """Starts with the processes of a plan."""
        _, self.marker, text, _ = spec.args.decode().split("\0")
        shape = plan(text)
        letters = [one.letters for one in _walk(shape)]
        numbers = self._system.numbers
        grown = [
            FakeProcess(next(numbers), node, "t" in letter) for node, letter in zip(shape.nodes(), letters, strict=True)
        ]
        self.begin(tag, grown, next(numbers) if guarded else None)
        for process, letter in zip(self.processes, letters, strict=True):
            if "x" in letter:
                process.end(7)
        self.started()

    @property
    def polled(self) -> bool:
        """With a guard its last word is looked for, once it was told that this is held back.

        Without, the start is, and the end of those that outlived the root.
        """
        if self.guarded:
            return self.closing
        return bool(self._looked_for) or self._told_end

    def tell(self, event: Event) -> None:
        if event.kind == native.STARTED and not self.guarded:
            self._looked_for.append(event)
        else:
            super().tell(event)

    def say_empty(self) -> None:
        # Without a guard the group is looked after; and a guard's last word may be held back until it was reaped.
        if self.guarded and self.tag % 2:
            super().say_empty()
            return
        self._looked_for.append(self.event(native.EMPTY))
        if self.guarded:
            self.say(native.CLOSING)

    def poll(self) -> Event | None:
        if self.guarded and not self.closing:
            return None
        if not self._looked_for:
            return None
        more = self.closing or self._told_end or len(self._looked_for) > 1
        return msgspec.structs.replace(self._looked_for[0], polled=more)

    def heard(self) -> None:
        self._looked_for.popleft()

    def signal(self, signal: int) -> None:
        if self._system.deaf_to(self.tag):
            raise OSError(11, "the lifeline is full")
        super().signal(signal)

    def kill(self) -> None:
        for process in self.contained():
            if self._system.kills(process):
                process.end(-SIGKILL)
        self.settle()


def _walk(one: Any) -> Iterator[Any]:
    yield one
    for child in one.children:
        yield from _walk(child)


class FakeCore(MemoryCore):
    """It tells one event at a time, some turns of the loop late."""

    def __init__(self, system: FakeSystem) -> None:
        super().__init__(system.start, system.make_tree)
        self._system = system
        self._turns = 0

    def tell(self, event: Event) -> None:
        if not self._events:
            self._turns = self._system.late()
        super().tell(event)

    def take(self, told: deque[Event]) -> None:
        if not self._events or self._turns > 0:
            self._turns -= 1
        else:
            self._turns = self._system.late()
            event = self._events.popleft()
            if event.kind == native.CLOSING:
                self._system.tree(event.tag).closing = True
            told.append(msgspec.structs.replace(event, polled=self._system.tree(event.tag).polled))
        if self._events:
            self.stage.tell()


class FakeSystem(MemorySystem):
    """Of one mechanism. Whoever uses it decides how late events are, and which spawn is refused."""

    def __init__(self, mechanism: Mechanism) -> None:
        super().__init__()
        self._mechanism: Mechanism = mechanism
        self.marked: dict[str, FakeTree] = {}
        self.late: Callable[[], int] = lambda: 0
        self.refuses: Callable[[], bool] = lambda: False
        self.deaf_to: Callable[[int], bool] = lambda tag: False
        self.kills: Callable[[MemoryProcess], bool] = lambda process: True

    def try_out(self, mechanism: Mechanism) -> str | None:
        return None if mechanism == self._mechanism else "this is another system"

    def open_core(self) -> Core:
        self.core = FakeCore(self)
        return self.core

    def make_tree(self, core: MemoryCore) -> MemoryTree:
        return FakeTree(self, core)

    def tree(self, tag: int) -> FakeTree:
        """A tree by its tag."""
        tree = self.trees[tag]
        assert isinstance(tree, FakeTree)
        return tree

    def start(self, tree: MemoryTree, spec: Spec, tag: int, guarded: bool) -> None:
        assert isinstance(tree, FakeTree)
        if self.refuses():
            raise CoreError("clone", 11)
        self.trees[tag] = tree
        tree.grow(spec, tag, guarded)
        self.marked[tree.marker] = tree

    def backend_for(self, containment: Containment) -> Backend:
        return _FakeContained(self, containment.mechanism)


class _FakeContained(MemoryBackend):
    def inspection(self, leader_pid: int, tag: int, engine: Engine) -> Inspection:
        tree = self._system.trees[tag]
        return Inspection(MemoryMembers(tree), _SlowFreezer(tree), MemoryAccounts(tree))

    def bypass(self, leader_pid: int, tag: int) -> SearchTarget:
        """What a guard cannot end, nobody can."""
        return _Unreachable(self._system.trees[tag], proves=False)

    def orphaned(self, traces: LostTree) -> SearchTarget:
        """Without a cgroup, the root's group is what can be found."""
        kind = MemoryTarget if self._mechanism == "cgroup" else _GroupTarget
        return kind(self._system.trees[traces.tag], proves=self._mechanism == "cgroup")


class _GroupTarget(MemoryTarget):
    def found(self) -> list[MemoryProcess]:
        return [process for process in super().found() if process.in_group]


class _Unreachable(MemoryTarget):
    def strike_all(self) -> bool:
        return True


class _SlowFreezer(MemoryFreezer):
    def freeze(self) -> bool:
        """One after the other."""
        running = [process for process in self._tree.living() if not process.frozen]
        for process in running[:1]:
            process.frozen = True
        return not running
