"""What events do: to the trees of a manager, and to those who wait for them."""

from __future__ import annotations

import contextlib
import weakref
from typing import TYPE_CHECKING

from . import native
from .containment.backend import Backend
from .engine.engine import Engine
from .engine.watch import call_weakly
from .native import Event
from .standby import Standby
from .telemetry.log import report
from .trees.record import TreeRecord
from .trees.registry import TreeRegistry

if TYPE_CHECKING:
    from collections.abc import Callable

    from .recovery import Recovery

__all__ = ["Delivery"]

#: The pause before the recovery of a tree is tried again, in seconds, because its code could not be loaded.
_RETRY = 0.1


class Delivery:
    """Takes events for a manager. It does not know the manager: nobody keeps that but its user."""

    def __init__(self, trees: TreeRegistry, standby: Standby) -> None:
        self._trees = trees
        self._standby = standby
        #: Who tells of the trees, and what they were started with, once there are any.
        self.engine: Engine | None = None
        self.backend: Backend | None = None
        self._reported = False
        self._take: Callable[[Event, TreeRecord, Engine | None], None] | None = None

    def deliver(self, event: Event) -> None:
        """See :class:`~treeguard._core.engine.engine.Receiver`."""
        record = self._trees.records.get(event.tag)
        if record is None:
            return
        recovery = self._standby.in_use
        if recovery is not None and event.kind in native.OVER:
            recovery.over(event.tag)
        detail = ""
        if event.kind == native.FAILED and self.backend is not None:
            detail = self.backend.why_failed(event.step, event.errno)
            if event.step != "guard":
                self.backend.failed(event.tag)
        record.apply(event, detail)
        started_alone = event.kind == native.STARTED and self.backend is not None and self.backend.outlived
        if event.kind == native.STOPPED or record.loan or started_alone:
            if self._take is None:
                with contextlib.suppress(OSError, ImportError):  # too few descriptors to import it
                    from .stops import take

                    self._take = take
            if self._take is not None:
                self._take(event, record, self.engine)
        if record.lost:
            self._lose(record)
        elif record.empty and not record.children:
            self._trees.settle(record)

    def mend(self) -> None:
        """See :class:`~treeguard._core.engine.engine.Receiver`."""
        self._trees.mend()
        if self._standby.in_use is not None:
            self._standby.in_use.mend()

    def late(self, tag: int) -> None:
        """See :class:`~treeguard._core.engine.engine.Receiver`. It is called again if this raises an exception."""
        record = self._trees.records.get(tag)
        if record is not None and self.engine is not None:
            self._recovery().late(record)

    def discard(self, record: TreeRecord, error: BaseException) -> None:
        """Forgets a tree of which nothing was started, since no event will ever report that there is none."""
        assert self.engine is not None
        assert self.backend is not None
        self.engine.forget(record.tag)
        self.backend.failed(record.tag)
        if not record.empty:
            record.not_started(error)
            record.give_up(proved=True)
        if record.subtree_empty and not record.left:
            self._trees.settle(record)

    def bypass_now(self, tag: int) -> bool:
        """See :meth:`.Recovery.bypass_now`."""
        with contextlib.suppress(OSError, ImportError):
            return self._recovery().bypass_now(tag)
        return False

    def resume(self) -> None:
        """On another loop than before: takes up what the end of that one has cut short."""
        if self._standby.in_use is not None:
            self._standby.in_use.resume()

    def close(self) -> None:
        """Recovers no more trees. Calling it again has no effect."""
        self._standby.close()

    def _recovery(self) -> Recovery:
        assert self.engine is not None
        assert self.backend is not None
        return self._standby.recovery(self.engine, self.backend)

    def _lose(self, record: TreeRecord) -> None:
        try:
            recovery = self._recovery()
        except (OSError, ImportError) as error:
            if not self._reported:
                report("the code that ends a tree without its guard could not be loaded yet", error)
            self._reported = True
            loop = None if self.engine is None else self.engine.loop
            if loop is not None:
                loop.call_later(_RETRY, call_weakly, weakref.WeakMethod(self._lose_again))
        else:
            recovery.lose(record)

    def _lose_again(self) -> None:
        for record in self._trees:
            if record.lost and not record.empty:
                self._lose(record)
