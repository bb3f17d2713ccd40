"""A system without processes: trees that exist in memory alone, for the manager's own logic.

It grows the same plans as the adversary program does (:mod:`tests.support.plans`), contains them as a mechanism does,
and lets each event arrive some turns of the loop late.
"""

from __future__ import annotations

import itertools
import os
import signal
from collections import deque
from collections.abc import Callable, Collection, Iterator, MutableMapping, Sequence
from typing import Any

import msgspec

from treeguard._core import native
from treeguard._core.containment.backend import Backend
from treeguard._core.containment.bypass import Bypass
from treeguard._core.containment.guarantees import Containment, choose
from treeguard._core.containment.guard_loss import LostTree, OrphanedTree
from treeguard._core.containment.host import System
from treeguard._core.containment.proc_scanner import SearchTarget
from treeguard._core.containment.search import Search
from treeguard._core.engine.engine import Core, Engine
from treeguard._core.inspection.freezer import Freezer
from treeguard._core.inspection.members import Members
from treeguard._core.inspection.tree import Inspection
from treeguard._core.inspection.usage import Accounts
from treeguard._core.native import CoreError, Event, Spec, Usage
from treeguard._core.spec import Placement
from treeguard.params import Isolation
from treeguard.types import ContainmentName, GuaranteeName, Mechanism, TreeStats

from ..support.plans import Node, plan

__all__ = ["FakeProcess", "FakeSystem", "FakeTree"]

_NOTHING = Usage(0, 0, 0, 0, 0, 0, 0)


class FakeProcess:
    """One of a tree: it lives until it hears a signal, which it doesn't while it is stopped."""

    def __init__(self, pid: int, node: Node, stopped: bool) -> None:
        self.pid = pid
        self.node = node
        self.alive = True
        self.stopped = stopped
        self.frozen = False
        self._pending = False

    def end(self) -> None:
        self.alive = False

    def hear(self) -> None:
        """SIGTERM, or what was held back of it."""
        if self.node.deaf:
            return
        if self.stopped or self.frozen:
            self._pending = True
        else:
            self.alive = False

    def thaw(self) -> None:
        self.frozen = False
        if self._pending:
            self.hear()


class FakeTree:
    """A tree of the core. It reports everything late: by the descriptor, or to a caller that polls."""

    def __init__(self, system: FakeSystem) -> None:
        self.begun = self.guarded = self.closing = False
        self.pid = 0
        self._system = system
        self._looked_for: deque[Event] = deque()
        self._told_end = False

    def start(self, spec: Spec, tag: int, guarded: bool) -> None:
        _, self.marker, text, _ = spec.args.decode().split("\0")
        shape = plan(text)
        self.guarded = guarded
        self.tag = tag
        letters = [one.letters for one in _walk(shape)]
        self.processes = [
            FakeProcess(next(self._system.numbers), node, "t" in letter)
            for node, letter in zip(shape.nodes(), letters, strict=True)
        ]
        self.root = self.processes[0]
        self.pid = next(self._system.numbers) if guarded else self.root.pid
        self.how: dict[str, int] = {"code": -1}
        self.lost = self.told_last = self._told_end = self.closing = False
        self.begun = True
        for process, letter in zip(self.processes, letters, strict=True):
            if "x" in letter:
                process.end()
        self.how["code"] = 7 if not self.root.alive else -1
        self._say(native.STARTED, self._looked_for if not guarded else None)
        self.settle()

    @property
    def polled(self) -> bool:
        """With a guard its last word is looked for, once it was told that this is held back.

        Without, the start is, and the end of those that outlived the root.
        """
        if self.guarded:
            return self.closing
        return bool(self._looked_for) or self._told_end

    def living(self) -> list[FakeProcess]:
        return [process for process in self.processes if process.alive]

    def _mine(self) -> list[FakeProcess]:
        """The processes that must end before it is empty."""
        return [process for process in self.living() if self.guarded or process.node.in_group]

    def _say(self, kind: int, where: deque[Event] | None = None) -> None:
        over = kind in (native.ENDED, native.EMPTY)
        usage = _NOTHING if over else None
        how = self.how if over else {"code": -1}
        event = Event(self.tag, kind, self.root.pid, "none", 0, how["code"], how.get("signal", 0), usage, usage)
        if where is None:
            self._system.core.tell(event)
        else:
            where.append(event)

    def settle(self) -> None:
        """Tells what has changed."""
        if self.told_last:
            return
        if not self.root.alive and not self._told_end:
            self._told_end = True
            if self.how["code"] < 0 and "signal" not in self.how:
                self.how["signal"] = signal.SIGKILL
            self._say(native.ENDED)
        if not self._mine():
            self.told_last = True
            # Without a guard the group is looked after; and a guard's last word may be held back until it was reaped.
            held_back = not self.guarded or self.tag % 2 == 0
            self._say(native.EMPTY, self._looked_for if held_back else None)
            if self.guarded and held_back:
                self._say(native.CLOSING)

    def lose(self) -> bool:
        """Its guard is killed, and the root with it. Whether there was one."""
        if not self.guarded or self.told_last:
            return False
        self.root.end()
        self.lost = self.told_last = True
        self._say(native.LOST)
        return True

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
        for process in self.processes:
            if process.alive and process.node.in_group:
                process.hear()
        if not self.root.alive and self.how["code"] < 0:
            self.how.setdefault("signal", signal)
        self.settle()

    def kill(self) -> None:
        for process in self._mine():
            if self._system.kills(process):
                process.end()
        self.settle()

    #: Guards here go with their last word, and nobody stops them.
    leaving = False

    def wake(self) -> bool:
        return False

    def dismiss(self, *, empty: bool) -> None:
        raise NotImplementedError("a guard here does what it can")

    def free(self) -> None:
        """A guard that is let go ends its tree."""
        begun, self.begun = self.begun, False
        if begun and self.guarded and not self.lost:
            self.kill()


def _walk(one: Any) -> Iterator[Any]:
    yield one
    for child in one.children:
        yield from _walk(child)


class FakeCore:
    """Its descriptor is readable as long as there is anything to tell, now or later."""

    def __init__(self, system: FakeSystem) -> None:
        self._system = system
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._events: deque[Event] = deque()
        self._turns = 0

    leaving = 0
    owned = True

    def fileno(self) -> int:
        return self._fd

    def tell(self, event: Event) -> None:
        if self._fd < 0:
            return
        if not self._events:
            os.eventfd_write(self._fd, 1)
            self._turns = self._system.late()
        self._events.append(event)

    def take(self, told: deque[Event]) -> None:
        if not self._events or self._turns > 0:
            self._turns -= 1
            return
        self._turns = self._system.late()
        event = self._events.popleft()
        if not self._events:
            os.eventfd_read(self._fd)
        if event.kind == native.CLOSING:
            self._system.trees[event.tag].closing = True
        told.append(msgspec.structs.replace(event, polled=self._system.trees[event.tag].polled))

    def spawn(
        self, spec: Spec, tag: int, *, lease: tuple[int, int], among: MutableMapping[int, Any] | None
    ) -> FakeTree:
        made = FakeTree(self._system)
        if among is not None:
            among[tag] = made
        if self._system.refuses():
            raise CoreError("clone", 11)
        made.start(spec, tag, spec.guard is not None)
        self._system.trees[tag] = self._system.marked[made.marker] = made
        return made

    def forked(self) -> None:
        # The protocol wants it; a copy of the process is a thing of the other world.
        raise NotImplementedError("nobody forks in memory")

    def close(self) -> None:
        os.close(self._fd)
        self._fd = -1


class FakeSystem(System):
    """Of one mechanism. Whoever uses it decides how late events are, and which spawn is refused."""

    def __init__(self, mechanism: Mechanism) -> None:
        self._mechanism: Mechanism = mechanism
        self.numbers = itertools.count(2**23)
        self.trees: dict[int, FakeTree] = {}
        self.marked: dict[str, FakeTree] = {}
        self.late: Callable[[], int] = lambda: 0
        self.refuses: Callable[[], bool] = lambda: False
        self.deaf_to: Callable[[int], bool] = lambda tag: False
        self.kills: Callable[[FakeProcess], bool] = lambda process: True
        self.core: FakeCore

    def contain(
        self, asked: ContainmentName, required: Collection[GuaranteeName] = (), isolation: Isolation = "none"
    ) -> Containment:
        return choose(asked, self.try_out).containment

    def try_out(self, mechanism: Mechanism) -> str | None:
        return None if mechanism == self._mechanism else "this is another system"

    def open_core(self) -> Core:
        self.core = FakeCore(self)
        return self.core

    def search(self) -> Search:
        return _FakeSearch()

    def backend_for(self, containment: Containment) -> Backend:
        return _FakeBackend(self, containment.mechanism)


class _FakeSearch(Search):
    """Without a thread, for which a virtual clock does not wait."""

    async def look(self, every: Sequence[SearchTarget]) -> list[SearchTarget]:
        """What a guard cannot end, nobody can."""
        return [one for one in every if not isinstance(one, _FakeOrphaned) or one.kill()]


class _FakeBackend(Backend):
    def __init__(self, system: FakeSystem, mechanism: Mechanism) -> None:
        self._system = system
        self._mechanism = mechanism
        self.placement = Placement(guarded=mechanism != "process_group")

    def inspection(self, leader_pid: int, tag: int, engine: Engine) -> Inspection:
        tree = self._system.trees[tag]
        return Inspection(_FakeMembers(tree), _FakeFreezer(tree), _FakeAccounts(tree))

    def bypass(self, leader_pid: int, tag: int) -> SearchTarget:
        return Bypass(leader_pid)

    def orphaned(self, traces: LostTree) -> OrphanedTree:
        return _FakeOrphaned(self._system.trees[traces.tag], self._mechanism == "cgroup")


class _FakeOrphaned(OrphanedTree):
    """Without a cgroup, the root's group is what can be found."""

    def __init__(self, tree: FakeTree, whole: bool) -> None:
        self._tree = tree
        self._whole = self.proved = whole

    def kill(self) -> bool:
        found = [process for process in self._tree.living() if self._whole or process.node.in_group]
        for process in found:
            process.end()
        return bool(found)


class _FakeMembers(Members):
    def __init__(self, tree: FakeTree) -> None:
        self._tree = tree

    def pids(self) -> tuple[int, ...]:
        return tuple(process.pid for process in self._tree.living())

    def has(self, pid: int) -> bool:
        return pid in self.pids()


class _FakeFreezer(Freezer):
    def __init__(self, tree: FakeTree) -> None:
        self._tree = tree

    def freeze(self) -> bool:
        """One after the other."""
        running = [process for process in self._tree.living() if not process.frozen]
        for process in running[:1]:
            process.frozen = True
        return not running

    def thaw(self) -> None:
        for process in self._tree.processes:
            process.thaw()
        self._tree.settle()


class _FakeAccounts(Accounts):
    def __init__(self, tree: FakeTree) -> None:
        self._tree = tree

    def read(self) -> TreeStats:
        return TreeStats(0, 0, 0, 0, processes=len(self._tree.living()))
