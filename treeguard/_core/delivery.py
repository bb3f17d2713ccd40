"""What events do: to the trees of a manager, and to those who wait for them."""

from __future__ import annotations

import time
from functools import partial

from . import native
from .containment.backend import Backend
from .containment.guard_loss import LostTree
from .containment.proc_scanner import SearchTarget
from .containment.search import Search
from .engine.engine import Engine
from .native import Event
from .telemetry.log import log_of
from .trees.record import TreeRecord
from .trees.registry import TreeRegistry

__all__ = ["Delivery"]


class Delivery:
    """Takes events for a manager. It does not know the manager: nobody keeps that but its user."""

    def __init__(self, trees: TreeRegistry, search: Search) -> None:
        self._trees = trees
        self._search = search
        #: Trees whose guards don't do what they were told, by tag.
        self._bypasses: dict[int, SearchTarget] = {}
        #: Trees that have lost theirs, by tag, as long as they are searched for.
        self._lost: set[int] = set()
        #: Who tells of the trees, and what they were started with, once there are any.
        self.engine: Engine | None = None
        self.backend: Backend | None = None

    def deliver(self, event: Event) -> None:
        """See :class:`~treeguard._core.engine.engine.Receiver`."""
        life = self._trees.lives.get(event.tag)
        if life is None:
            return
        if event.tag in self._bypasses and event.kind in native.OVER:
            self._search.end(self._bypasses.pop(event.tag))
        detail = ""
        if event.kind == native.FAILED and self.backend is not None:
            detail = self.backend.why_failed(event.step, event.errno)
            if event.step != "guard":
                self.backend.failed(event.tag)
        life.apply(event, detail)
        if life.lost:
            self._lose(life)
        elif life.empty and not life.children:
            self._trees.settle(life)

    def mend(self) -> None:
        """See :class:`~treeguard._core.engine.engine.Receiver`."""
        self._trees.mend()
        for tag, bypass in self._bypasses.items():
            self._search.begin(bypass, partial(self._bypassed, tag))
        self._search.go_on()

    def late(self, tag: int) -> None:
        """A guard has not ended its tree in time: the tree is ended over its head, and the guard with it."""
        life = self._trees.lives.get(tag)
        if life is None or tag in self._bypasses or self.engine is None:
            return
        life.kill_requested = True
        bypass = self._bypass(tag)
        if bypass is None:
            self.engine.dismiss(tag, empty=False)
        else:
            self._search.begin(bypass, partial(self._bypassed, tag))
        log = log_of("manager", life.pid, life.connection)
        log.error("the guard of %s has not ended its tree in time; it is ended without it", life.pid)

    def bypass_now(self, tag: int) -> bool:
        """Ends what is found of such a tree, without a loop. Whether it is proved that nothing is left."""
        bypass = self._bypass(tag)
        return bypass is not None and self._search.look_now(bypass)

    def resume(self) -> None:
        """On another loop than before: takes up what the end of that one has cut short."""
        self._search.forget()
        for life in self._trees:
            if life.lost and not life.empty:
                self._salvage(life)
        for tag, bypass in self._bypasses.items():
            self._search.begin(bypass, partial(self._bypassed, tag))

    def close(self) -> None:
        """Searches no more. Again is no error."""
        self._search.close()

    def _bypass(self, tag: int) -> SearchTarget | None:
        assert self.backend is not None
        assert self.engine is not None
        bypass = self._bypasses.get(tag) or self.backend.bypass(self.engine.leader_pid(tag), tag)
        if bypass is not None:
            self._bypasses[tag] = bypass
        return bypass

    def _bypassed(self, tag: int, proved: bool) -> None:
        """The tree is empty, or there was no guard to go by. One that is dead may not be told so for long."""
        life = self._trees.lives.get(tag)
        if self.engine is not None:
            self.engine.dismiss(tag, empty=proved)
        if life is not None and not proved:
            self._lose(life)

    def _lose(self, life: TreeRecord) -> None:
        tag = life.tag
        if tag in self._lost:
            return
        life.lost = True
        # Begun before it is noted: twice does no harm where an exception comes in between, never would.
        self._salvage(life)
        self._lost.add(tag)
        if life.error is not None:
            return
        log = log_of("manager", life.pid, life.connection)
        log.error("the guard of %s died; its tree is ended as far as it can be found", life.pid)

    def _salvage(self, life: TreeRecord) -> None:
        assert self.backend is not None
        assert self.engine is not None
        now = time.monotonic()
        traces = LostTree(life.os_pid, life.tag, now - life.began, now - life.spawned, self.engine.leader_pids)
        self._search.begin(self.backend.remains(traces), partial(self._salvaged, life))

    def _salvaged(self, life: TreeRecord, proved: bool) -> None:
        self._lost.discard(life.tag)
        life.give_up(proved=proved)
        if life.subtree_empty:
            self._trees.settle(life)
