"""One tree's life, as its events tell it: pending, started, ended, empty; and those who wait for it."""

from __future__ import annotations

import asyncio
import errno
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ...errors import ProcessEnded, SpawnError, TreeguardError, spawn_error
from ...params import SpawnParams
from ...types import ChildHandle, ConnectionId, ProcessId, ResourceUsage, RootExit, TreeState, TreeStats
from .. import native
from ..native import Event, Usage
from ..telemetry.log import log_of, report
from ..waiting import Waiters

if TYPE_CHECKING:
    from ..inspection.tree import Inspection
    from ..lending import Loan
    from ..resources import ChildResources
    from ..spec import Additions
    from ..streams.streams import Streams
    from ..telemetry.instrumentation import TreeInstrumentation
    from .ids import IdIssuer

__all__ = ["TreeRecord", "observed"]

#: Bytes of address space in which every guard can run.
_GUARD_ROOM = 1 << 20
_log = log_of("trees").logger


def observed() -> bool:
    """Whether trees are reported to anybody: by the log, or to OpenTelemetry, once the application has imported it."""
    return "opentelemetry.trace" in sys.modules or _log.isEnabledFor(10)  # logging.DEBUG


class TreeRecord:
    """State of one tree. It changes by :meth:`apply` only, and wakes who waits.

    An exception may interrupt a change anywhere: a signal's handler raises where it likes. So each call here may be
    made again, and does then what is still to be done.

    *Empty* means that nothing of the tree is left; *settled* that this holds for the trees of its children too.
    Children always settle before their parent.
    """

    __slots__ = (
        "__weakref__",
        "_ids",
        "_instrumentation",
        "_pid",
        "_waiters",
        "began",
        "children",
        "connection",
        "empty",
        "error",
        "exit",
        "inspection",
        "kill_requested",
        "kind",
        "left",
        "limits",
        "loan",
        "lost",
        "marked",
        "os_pid",
        "parent",
        "program",
        "resources",
        "spawned",
        "started",
        "stopped",
        "stops",
        "streams",
        "tag",
        "total",
        "unverified",
    )

    def __init__(self, ids: IdIssuer, tag: int, params: SpawnParams, parent: TreeRecord | None) -> None:
        self._ids = ids
        self._pid: ProcessId | None = None
        #: The number that the C core knows the tree by.
        self.tag = tag
        self.kind = params.kind
        self.program = params.program
        self.limits = params.limits
        self.parent = parent
        #: What the child is given besides its parameters, if anything.
        self.resources: ChildResources | None = None
        self.children: list[TreeRecord] = []
        self.connection: ConnectionId | None = None
        self.os_pid = 0
        self.started = False
        self.spawned = self.began = time.monotonic()
        self.kill_requested = False
        self.empty = self.left = self.lost = False
        self.marked = not params.clear_env
        self.unverified = False
        self.stopped: int | None = None
        self.stops = 0
        self.exit: RootExit | None = None
        self.total: Usage | None = None
        self.inspection: Inspection | None = None
        self.error: TreeguardError | None = None
        self.streams: Streams | None = None
        self.loan: Loan | None = None
        self._waiters = Waiters()
        self._instrumentation: TreeInstrumentation | None = None
        if observed():
            self._observe()

    @property
    def pid(self) -> ProcessId:
        """Its id, always the same."""
        if self._pid is None:
            self._pid = self._ids.id_of(self.tag)
        return self._pid

    @property
    def subtree_empty(self) -> bool:
        """Whether nothing is left of this tree and of its children's."""
        return self.empty and not self.children

    @property
    def handle(self) -> ChildHandle:
        """The child, as its manager's users see it."""
        parent = None if self.parent is None else self.parent.pid
        return ChildHandle(self.pid, self.kind, parent, self.connection, self.os_pid)

    @property
    def state(self) -> TreeState:
        """What is known of the tree now."""
        return TreeState(self.os_pid, self.stopped, self.exit, self.empty, self.stops)

    @property
    def final_stats(self) -> TreeStats:
        """What the tree used, known when it is empty."""
        total = _resources(self.total)
        return TreeStats(total.user_time, total.system_time, 0, total.max_rss, 0)

    def connected(self, params: SpawnParams, additions: Additions) -> SpawnParams:
        """The parameters with descriptors in the place of pipes and of a terminal. Makes those."""
        from ..streams.streams import streams_for

        self.streams = streams_for(params, lambda: self.exit is not None or self.empty or self.lost)
        return self.streams.opened(params, additions)

    def close_streams(self) -> None:
        """Closes its pipes and terminal, after reading what they hold."""
        if self.streams is not None:
            self.streams.close()

    def subtree(self) -> Iterator[TreeRecord]:
        """This tree and those below it, children first."""
        for child in list(self.children):
            yield from child.subtree()
        yield self

    def apply(self, event: Event, detail: str = "") -> None:
        """Takes an event of this tree. ``detail`` is what else is known of a failure."""
        kind = event.kind
        if kind == native.STARTED:
            self.os_pid = event.pid
            if not self.started:
                self.began = time.monotonic()
            self.started = True
        elif kind == native.FAILED:
            step, number = event.step, event.errno
            # Below that a limit on address space leaves no room for the guard, which is intact.
            if step == "guard" and self.limits is not None and (self.limits.memory or _GUARD_ROOM) < _GUARD_ROOM:
                step, number = "limit", errno.ENOMEM
            self.fail(self.start_error(step, number, detail), lost=event.step == "guard")
            return
        elif kind == native.STOPPED:
            self.stopped = event.signal
            self.stops += 1
        elif kind == native.CONTINUED:
            self.stopped = None
        elif kind in (native.ENDED, native.EMPTY):
            exit_ = _root_exit(event)
            # A handler of a signal that came in between may have heard more.
            if not self.empty:
                self.exit, self.total, self.empty = exit_, event.total, kind == native.EMPTY
        elif kind == native.LOST:
            self.lost = True
        if self._waiters:
            self._waiters.wake()
        if kind == native.STARTED and observed() and (instrumentation := self._observe()) is not None:
            instrumentation.started(event.pid)

    def start_error(self, step: str, number: int, detail: str) -> SpawnError:
        """The error for a failed step of this tree's start. ``detail`` is what else is known of it."""
        return spawn_error(step, number, native.culprit(step, self.program), detail=detail)

    def give_up(self, *, proved: bool) -> None:
        """No event will tell any more that the tree is empty: whether it is known from elsewhere."""
        self.unverified = not proved
        self.empty = True
        if self.loan is not None:
            self.loan.over(killed=True)
        self.wake()
        self._withdraw()

    def fail(self, error: TreeguardError, *, lost: bool = False) -> None:
        """There is no tree: it could not be started. ``lost``: the guard died, and may have started it before."""
        self.error = error
        self.lost, self.empty = lost, not lost
        self.wake()
        self.not_started(error)

    def not_started(self, error: BaseException) -> None:
        """Reports that there is no tree. Only the first call has an effect."""
        if observed() and (instrumentation := self._observe(begun=self.started)) is not None:
            instrumentation.failed(error)

    def leave(self) -> TreeRecord | None:
        """Called once settled: withdraws what was given, lets go of the parent, wakes who waits.

        Returns the parent if that settled it.
        """
        self._withdraw()
        parent = self.parent
        if parent is not None and self in parent.children:
            parent.children.remove(self)
        if self._waiters:
            self._waiters.wake()
        if parent is not None:
            parent.wake()
        if observed() and (instrumentation := self._observe(begun=self.started)) is not None:
            instrumentation.subtree_empty(self.exit, killed=self.kill_requested)
        self.parent = None
        self.left = True
        return parent if parent is not None and parent.subtree_empty else None

    def wake(self) -> None:
        """Lets everybody who waits look again."""
        if self._waiters:
            self._waiters.wake()

    async def until(self, done: Callable[[], bool], timeout: float | None) -> bool:
        """Waits for a change that makes ``done`` true, for at most ``timeout`` seconds. Whether it is."""
        if timeout is not None and timeout <= 0:
            return done()
        timer, expired = None, [False]
        if timeout is not None:
            # Weak: a timer alone keeps neither who waits nor the manager that is waited with.
            timer = asyncio.get_running_loop().call_later(timeout, _expire, weakref.ref(self), expired)
        try:
            while not done() and not expired[0]:
                await self._waiters.wait()
        finally:
            if timer is not None:
                timer.cancel()
            if self.loan is not None and not done():
                self.loan.take_back()
        return done()

    async def settled(self, timeout: float | None) -> bool:
        """Waits until this tree and those below it are empty, for at most ``timeout`` seconds. Whether they are."""
        return await self.until(lambda: self.left, timeout)

    async def begin(self) -> ChildHandle:
        """Waits until the root runs its program, and connects its streams. Raises why it never will."""
        _ = self.pid  # made while the root starts
        while not (self.started or self.empty or self.lost):
            await self._waiters.wait()
        if self.error is not None:
            raise self.error
        # Killed in its exec a process looks like one whose program has begun: both let go of its parent's memory.
        if self.kill_requested or not self.started:
            raise ProcessEnded("the tree was ended while it was being started")
        if self.streams is not None:
            await self.streams.connect()
        return self.handle

    def _withdraw(self) -> None:
        if self.resources is not None:
            self.resources.withdraw()

    def _observe(self, *, begun: bool = False) -> TreeInstrumentation | None:
        """The reports about this tree. ``begun``: nobody observed its spawn, so that is not reported any more."""
        if self._instrumentation is None:
            try:
                from ..telemetry.instrumentation import TreeInstrumentation

                self._instrumentation = TreeInstrumentation(self.pid, self.kind, self.program, begun=begun)
            except Exception as error:
                report("telemetry could not be loaded", error)
        return self._instrumentation


def _expire(record: weakref.ref[TreeRecord], expired: list[bool]) -> None:
    expired[0] = True
    if (waiting := record()) is not None:
        waiting.wake()


def _root_exit(event: Event) -> RootExit:
    code, dumped = None if event.signal or event.code < 0 else event.code, event.code == native.DUMPED
    return RootExit(code, event.signal or None, _resources(event.usage), event.oom_kills > 0, dumped)


def _resources(usage: Usage | None) -> ResourceUsage:
    if usage is None:
        return ResourceUsage()
    return ResourceUsage(usage[0] / 1e6, usage[1] / 1e6, usage[2] * 1024, *usage[3:])
