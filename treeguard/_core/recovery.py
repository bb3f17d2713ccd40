"""Ending trees without their guards: after a guard has died, or has not ended its tree in time."""

from __future__ import annotations

import time
from functools import partial

from ..errors import guard_lost

# The backends import these when they are needed, which may be too late.
from .cgroup import emptying as _emptying  # noqa: F401
from .containment import bypass as _bypass  # noqa: F401
from .containment.backend import Backend
from .containment.guard_loss import LostTree
from .containment.namespace_loss import LostInside
from .containment.proc_scanner import SearchTarget
from .containment.search import Search
from .engine.engine import Engine
from .native import Descriptor
from .native_namespaces import init_of
from .telemetry.log import log_of
from .trees.record import TreeRecord
from .trees.registry import TreeRegistry

__all__ = ["Recovery"]


class Recovery:
    """Ends the trees of a manager that their guards do not end."""

    def __init__(self, trees: TreeRegistry, search: Search, engine: Engine, backend: Backend) -> None:
        self._trees = trees
        self._search = search
        self._engine = engine
        self._backend = backend
        #: Trees whose guards don't do what they were told, by tag.
        self._bypasses: dict[int, SearchTarget] = {}
        #: Trees that have lost theirs, by tag, as long as they are searched for.
        self._lost: set[int] = set()
        #: The inits of those of them that are in PID namespaces, by tag.
        self._inits: dict[int, Descriptor] = {}

    @property
    def busy(self) -> bool:
        """Whether it searches for what is left of a tree."""
        return self._search.busy

    def over(self, tag: int) -> None:
        """A tree has ended. If it was being ended without its guard, the guard has done its work after all."""
        if tag in self._bypasses:
            self._search.end(self._bypasses.pop(tag))

    def mend(self) -> None:
        """Goes on with what an exception has interrupted."""
        for tag, bypass in self._bypasses.items():
            self._search.begin(bypass, partial(self._bypassed, tag))
        self._search.go_on()

    def resume(self) -> None:
        """On another loop than before: takes up what the end of that one has cut short."""
        self._search.forget()
        for record in self._trees:
            if record.lost and not record.empty:
                self._salvage(record)
        for tag, bypass in self._bypasses.items():
            self._search.begin(bypass, partial(self._bypassed, tag))

    def late(self, record: TreeRecord) -> None:
        """A guard has not ended its tree in time: the tree is ended over its head, and the guard with it."""
        tag = record.tag
        if tag in self._bypasses:
            return
        record.kill_requested = True
        bypass = self._bypass(tag)
        if bypass is None:
            self._engine.dismiss(tag, empty=False)
        else:
            self._search.begin(bypass, partial(self._bypassed, tag))
        log = log_of("manager", record.pid, record.connection)
        log.error("the guard of %s has not ended its tree in time; it is ended without it", record.pid)

    def bypass_now(self, tag: int) -> bool:
        """Ends what is found of such a tree, without a loop. Whether it is proved that nothing is left."""
        bypass = self._bypass(tag)
        return bypass is not None and self._search.look_now(bypass)

    def lose(self, record: TreeRecord) -> None:
        """A guard has died: what can be found of its tree is ended."""
        if record.tag in self._lost:
            return
        record.lost = True
        # Begun before it is noted: twice does no harm where an exception comes in between, never would.
        self._salvage(record)
        self._lost.add(record.tag)
        if record.error is not None:
            return
        if not record.started and not record.kill_requested:
            # Who waits for the start looks only when this event has been dealt with.
            record.error = guard_lost(str(record.pid), marked=record.marked)
        log = log_of("manager", record.pid, record.connection)
        log.error("the guard of %s died; its tree is ended as far as it can be found", record.pid)

    def close(self) -> None:
        """Searches no more. Calling it again has no effect."""
        self._search.close()

    def _salvage(self, record: TreeRecord) -> None:
        now = time.monotonic()
        traces = LostTree(record.os_pid, record.tag, now - record.began, now - record.spawned, self._engine.leader_pids)
        lost = self._backend.orphaned(traces)
        # It is asked for once: the event of the loss is the last one that the core's tree is there for.
        init = self._inits.get(record.tag) or init_of(self._engine.tree(record.tag))
        if init is not None:
            self._inits[record.tag] = init
            lost = LostInside(lost, init)
        self._search.begin(lost, partial(self._salvaged, record))

    def _bypass(self, tag: int) -> SearchTarget | None:
        bypass = self._bypasses.get(tag) or self._backend.bypass(self._engine.leader_pid(tag), tag)
        if bypass is not None:
            self._bypasses[tag] = bypass
        return bypass

    def _bypassed(self, tag: int, proved: bool) -> None:
        """The tree is empty, or there was no guard to go by. One that is dead may not be told so for long."""
        record = self._trees.records.get(tag)
        self._engine.dismiss(tag, empty=proved)
        if record is not None and not proved:
            self.lose(record)

    def _salvaged(self, record: TreeRecord, proved: bool) -> None:
        self._lost.discard(record.tag)
        self._inits.pop(record.tag, None)
        record.give_up(proved=proved)
        if record.subtree_empty:
            self._trees.settle(record)
