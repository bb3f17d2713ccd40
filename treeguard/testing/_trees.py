"""The core of a system without processes: its trees, their events, and the view into them."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import deque
from collections.abc import Callable, Collection, Container, MutableMapping, Sequence
from typing import Any, Literal

from .._core import native
from .._core.containment.proc_scanner import SearchTarget, Snapshot
from .._core.engine.watch import Watch
from .._core.inspection.freezer import Freezer
from .._core.inspection.members import Members
from .._core.inspection.usage import Accounts
from .._core.native import Event, Spec, Usage
from .._core.processes.system import ProcessInfo
from ..types import ResourceUsage, TreeStats
from ._processes import SIGKILL, MemoryProcess
from ._stage import Stage

#: What a root that stands still is told to have been stopped by. Windows stops no processes.
_SIGSTOP = int(getattr(signal, "SIGSTOP", 19))
_SIGCONT = int(getattr(signal, "SIGCONT", 18))

__all__ = ["MemoryAccounts", "MemoryCore", "MemoryFreezer", "MemoryMembers", "MemoryTarget", "MemoryTree", "Target"]

#: Who a signal went to.
Target = Literal["group", "root", "all"]


class MemoryTree:
    """A tree of the core: see :class:`~treeguard._core.engine.engine.CoreTree`. It exists before it is started."""

    #: Its guard ends together with its last message, and nobody stops it.
    leaving = False

    def __init__(self, core: MemoryCore) -> None:
        self.begun = self.guarded = False
        self.lost = self.over = self._told_end = False
        self.pid = self.tag = 0
        self.processes: list[MemoryProcess] = []
        self.usage = ResourceUsage()
        self._core = core
        self._started = False
        self._stopped: bool = False

    def begin(self, tag: int, processes: Sequence[MemoryProcess], guard: int | None) -> None:
        """It exists. ``guard`` is the number of its guard."""
        self.tag = tag
        self.processes = list(processes)
        self.guarded = guard is not None
        self.pid = self.root.pid if guard is None else guard
        self.begun = True

    def started(self) -> None:
        """Its program runs."""
        self._started = True
        self.say(native.STARTED)
        self.settle()

    @property
    def root(self) -> MemoryProcess:
        """Its root."""
        return self.processes[0]

    def living(self) -> list[MemoryProcess]:
        """The processes that live."""
        return [process for process in self.processes if process.alive]

    def contained(self) -> list[MemoryProcess]:
        """The living ones that its mechanism holds: without a guard those in the root's group."""
        return [process for process in self.living() if self.guarded or process.in_group]

    # What is told of it.

    def say(self, kind: int, *, number: int = 0, step: str = "none", error: int = 0) -> None:
        """Tells the engine of an event."""
        self.tell(self.event(kind, number=number, step=step, error=error))

    def event(self, kind: int, *, number: int = 0, step: str = "none", error: int = 0) -> Event:
        """An event of this tree."""
        over = kind in (native.ENDED, native.EMPTY)
        status = self.root.status if over else None
        usage = _usage(self.usage) if over else None
        code = -1 if status is None or status < 0 else status
        ended_by = -status if status is not None and status < 0 else 0
        return Event(self.tag, kind, self.root.pid, step, error, code, ended_by or number, usage, usage)

    def tell(self, event: Event) -> None:
        """Tells the engine."""
        self._core.tell(event)

    def settle(self) -> None:
        """Tells what has changed."""
        if self.over or not self.begun:
            return
        if self._started and not self._told_end and not self.root.alive:
            self._told_end = True
            self.say(native.ENDED)
        elif self._started and self.guarded and self.root.alive and self.root.stopped != self._stopped:
            self._stopped = self.root.stopped
            self.say(native.STOPPED if self._stopped else native.CONTINUED, number=_SIGSTOP if self._stopped else 0)
        if not self.contained():
            self.over = True
            self.say_empty()

    def say_empty(self) -> None:
        """Tells that nothing is left."""
        self.say(native.EMPTY)

    def fail(self, step: str, error: int) -> None:
        """It cannot be started."""
        self.over = True
        for process in self.processes:
            process.end()
        self.say(native.FAILED, step=step, error=error)

    def lose(self) -> bool:
        """Its guard is killed, and the root with it. Returns whether there was one."""
        if not self.guarded or self.over:
            return False
        self.lost = self.over = True
        self.root.end()
        self.say(native.LOST)
        return True

    # What the engine asks.

    @property
    def polled(self) -> bool:
        """Every event is told."""
        return False

    def poll(self) -> Event | None:
        """See :attr:`polled`."""
        return None

    def heard(self) -> None:
        """See :attr:`polled`."""

    def signal(self, signal: int) -> None:
        """Signals the root's group."""
        whom = [process for process in self.processes if process.in_group]
        self.send(signal & ~native.ASK, whom, ask=bool(signal & native.ASK))

    def send(self, number: int, whom: Sequence[MemoryProcess], *, ask: bool = False) -> None:
        """Signals some of the processes. ``ask``: those that are stopped go on to hear it."""
        for process in whom:
            process.hear(number)
            if ask and process.stopped:
                process.hear(_SIGCONT)
        self.settle()

    def kill(self) -> None:
        """Kills everything that its mechanism holds."""
        for process in self.contained():
            if process.killable:
                process.end(-SIGKILL)
        self.settle()

    def wake(self) -> bool:
        """Its guard never has to be woken."""
        return False

    def dismiss(self, *, empty: bool) -> None:
        """Kills its guard."""
        if not self.over:
            self.over = True
            self.say(native.EMPTY if empty else native.LOST)

    def free(self) -> None:
        """A guard that is let go ends its tree."""
        begun, self.begun = self.begun, False
        if begun and self.guarded and not self.lost and self._core.owned:
            self.kill()


def _usage(used: ResourceUsage) -> Usage:
    times = (int(used.user_time * 1e6), int(used.system_time * 1e6), used.max_rss // 1024)
    return Usage(*times, used.minor_faults, used.major_faults, used.voluntary_switches, used.involuntary_switches)


class MemoryCore(Watch):
    """The core: see :class:`~treeguard._core.engine.engine.Core`."""

    leaving = 0

    def __init__(
        self,
        start: Callable[[MemoryTree, Spec, int, bool], None],
        make: Callable[[MemoryCore], MemoryTree] | None = None,
    ) -> None:
        """``start`` starts a tree that ``make`` made: with what was compiled, its tag, and whether it has a guard."""
        self.stage = Stage()
        self._start = start
        self._make = make or MemoryTree
        self._events: deque[Event] = deque()
        self._owner = os.getpid()
        self._closed = False

    @property
    def owned(self) -> bool:
        """Whether this process made it; a forked copy did not."""
        return self._owner == os.getpid()

    def begin(self, loop: asyncio.AbstractEventLoop, process_events: Callable[[], None]) -> None:
        """See :class:`Watch`."""
        self.stage.begin(loop, process_events)

    def end(self) -> None:
        """See :class:`Watch`."""
        self.stage.end()

    def pause(self, seconds: float) -> None:
        """See :class:`Watch`."""
        self.stage.pause(seconds)

    def fileno(self) -> int:
        """It has none."""
        return -1

    def tell(self, event: Event) -> None:
        """Takes note of an event, for the engine."""
        if not self._closed:
            self._events.append(event)
            self.stage.tell()

    def take(self, told: deque[Event]) -> None:
        """Hands over the events."""
        while self._events:
            told.append(self._events[0])
            self._events.popleft()

    def spawn(
        self,
        spec: Spec,
        tag: int,
        *,
        lease: tuple[int, int],
        among: MutableMapping[int, Any] | None,
        kind: Any = None,
    ) -> MemoryTree:
        """Starts a tree."""
        tree = self._make(self)
        if among is not None:
            among[tag] = tree
        self._start(tree, spec, tag, spec.guard is not None)
        return tree

    def forked(self) -> None:
        """See :class:`~treeguard._core.engine.engine.Core`. A tree closes what it has when it is freed."""

    def close(self) -> None:
        """Ends it. Again is no error."""
        self._closed = True
        if self.owned:
            self.stage.close()


class MemoryMembers(Members):
    """The processes of a tree."""

    def __init__(self, tree: MemoryTree, note: Callable[[int, Target], None] = lambda number, to: None) -> None:
        """``note`` is called with a signal, and who gets it."""
        self._tree = tree
        self._note = note

    def pids(self) -> tuple[int, ...]:
        """See :meth:`Members.pids`."""
        return tuple(process.pid for process in self._tree.living())

    def has(self, pid: int) -> bool:
        """See :meth:`Members.has`."""
        return pid in self.pids()

    def look(self, pid: int) -> ProcessInfo | None:
        """See :meth:`Members.look`."""
        for process in self._tree.living():
            if process.pid == pid:
                state = "T" if process.stopped or process.frozen else "S" if process.killable else "D"
                group = self._tree.root.pid if process.in_group else pid
                parent = self._tree.pid if process is self._tree.root else self._tree.root.pid
                return ProcessInfo(pid, process.name, state, parent, group, group, 0)
        return None

    def holds(self, pid: int, pipes: Collection[str]) -> bool | None:
        """See :meth:`Members.holds`."""
        return bool(pipes) and any(each.holds_output for each in self._tree.living() if each.pid == pid)

    def signal_root(self, pid: int, parent: int, number: int, *, ask: bool = False) -> None:
        """See :meth:`Members.signal_root`."""
        self._note(number, "root")
        self._tree.send(number, [self._tree.root], ask=ask)

    def signal_outside(self, groups: Container[int], number: int, *, ask: bool = False) -> None:
        """See :meth:`Members.signal_outside`."""
        self._note(number, "all")
        outside = [each for each in self._tree.living() if not each.in_group or self._tree.root.pid not in groups]
        self._tree.send(number, outside, ask=ask)


class MemoryFreezer(Freezer):
    """Freezes a tree at once."""

    def __init__(self, tree: MemoryTree, *, by_cgroup: bool = False) -> None:
        self._tree = tree
        self._by_cgroup = by_cgroup

    def freeze(self) -> bool:
        """See :meth:`Freezer.freeze`."""
        for process in self._tree.living():
            process.frozen, process.frozen_by_cgroup = True, self._by_cgroup
        return True

    def thaw(self) -> None:
        """See :meth:`Freezer.thaw`."""
        for process in self._tree.processes:
            process.thaw()
        self._tree.settle()


class MemoryAccounts(Accounts):
    """What a tree uses, as its script says."""

    def __init__(self, tree: MemoryTree) -> None:
        self._tree = tree

    def read(self) -> TreeStats:
        """See :meth:`Accounts.read`."""
        used = self._tree.usage
        living = len(self._tree.living())
        return TreeStats(used.user_time, used.system_time, used.max_rss if living else 0, used.max_rss, living)


class MemoryTarget(SearchTarget):
    """A tree that is ended without its guard."""

    def __init__(self, tree: MemoryTree, *, proves: bool) -> None:
        self._tree = tree
        self._proves = proves

    def found(self) -> list[MemoryProcess]:
        """What can be found of it."""
        return self._tree.living()

    def end_look(self, now: Snapshot, ended: bool) -> bool:
        """See :meth:`SearchTarget.end_look`."""
        return self.strike_all()

    def strike_all(self) -> bool:
        """Kills what it finds. Returns whether to look again."""
        for process in self.found():
            if process.killable:
                process.end(-SIGKILL)
        again = bool(self.found())
        self.proved = self._proves and not again
        return again
