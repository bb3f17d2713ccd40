"""The trees of a manager: those that live, and what is remembered of those that ended."""

from __future__ import annotations

import uuid
from collections import OrderedDict
from collections.abc import Iterator

from ...errors import ProcessEnded, TreeNotEmpty, UnknownProcess, guard_lost
from ...params import SpawnParams
from ...types import ConnectionId, ProcessId
from .ids import IdIssuer
from .record import TreeRecord, observed

__all__ = ["TreeRegistry"]

#: How many ended trees are remembered, if nothing else is asked for.
_REMEMBERED = 1024


class TreeRegistry:
    """Lives by id and by tag, the running number in the id that the C core knows a tree by."""

    def __init__(self, remembered: int | None = None) -> None:
        """``remembered`` ended trees are kept with their exits. Of older ones it is known only that they have ended."""
        self._remembered = remembered or _REMEMBERED
        if observed():
            # What it may have to import is not left for the event loop.
            from ..telemetry.instrumentation import telemetry

            telemetry()
        self._ids = IdIssuer()
        #: Those that have not settled, by tag.
        self.records: dict[int, TreeRecord] = {}
        self._ended: OrderedDict[int, TreeRecord] = OrderedDict()
        #: Of the forgotten, the few that are not known to be empty: whether a guard was lost, and a mark set.
        self._unproved: dict[int, tuple[bool, bool]] = {}
        self._connected: dict[ConnectionId, TreeRecord] = {}

    def __iter__(self) -> Iterator[TreeRecord]:
        """Those that have not settled, in the order of their spawns."""
        return iter(list(self.records.values()))

    def made(self, params: SpawnParams) -> TreeRecord:
        """A new tree that is not among them yet.

        Raises :class:`~treeguard.ProcessEnded` if the parent has ended.
        """
        parent = None if params.parent is None else self.alive(params.parent)
        return TreeRecord(self._ids, self._ids.issue(), params, parent)

    def add(self, record: TreeRecord) -> None:
        """Takes a new one up."""
        self.records[record.tag] = record
        if record.parent is not None:
            record.parent.children.append(record)

    def living(self, pid: ProcessId) -> TreeRecord | None:
        """None: it has settled. Raises :class:`~treeguard.UnknownProcess` for what was never issued here."""
        record = self.records.get(self._ids.number(pid))
        if record is not None and (record.pid is pid or record.pid == pid):
            return record
        ended = self._ended.get(self._known(pid))
        if ended is not None and ended.unverified and ended.error is not None and not ended.lost:
            raise ended.error  # it was released
        return None

    def remembered(self, pid: ProcessId) -> TreeRecord | None:
        """The same, for one that settled not too long ago as well."""
        return self.living(pid) or self._ended.get(self._known(pid))

    def recent(self, pid: ProcessId) -> TreeRecord:
        """The same. Raises :class:`~treeguard.ProcessEnded` for an older one."""
        record = self.remembered(pid)
        if record is None:
            raise ProcessEnded(f"{pid} has ended, too long ago to be remembered")
        return record

    def alive(self, pid: ProcessId) -> TreeRecord:
        """Raises :class:`~treeguard.ProcessEnded` if it has ended, or is being ended."""
        record = self.living(pid)
        if record is None or record.kill_requested:
            raise ProcessEnded(f"{pid} has ended")
        return record

    def connect(self, pid: ProcessId, conn: ConnectionId) -> None:
        """Binds a connection to a tree; one to one."""
        if not isinstance(conn, uuid.UUID):
            raise TypeError(f"conn must be a ConnectionId, not {type(conn).__name__}")
        record = self.alive(pid)
        other = self._connected.get(conn, record)
        if other is not record:
            raise ValueError(f"connection {conn} is attached to {other.pid} already")
        self._disconnect(record)
        record.connection = conn
        self._connected[conn] = record

    def disconnect(self, conn: ConnectionId) -> None:
        """A connection has ended, if there is such a one."""
        record = self._connected.get(conn)
        if record is not None:
            self._disconnect(record)

    def settle(self, record: TreeRecord) -> None:
        """Takes a tree out of the living that has settled, and its parent if that was all that kept it.

        This may be interrupted anywhere, and is gone on with by :meth:`mend`.
        """
        subtree_empty: TreeRecord | None = record
        while subtree_empty is not None:
            if subtree_empty.connection is not None:
                self._disconnect(subtree_empty)
            self._ended[subtree_empty.tag] = subtree_empty
            self.records.pop(subtree_empty.tag, None)
            if len(self._ended) > self._remembered:
                self._forget_oldest()
            subtree_empty = subtree_empty.leave()

    def _forget_oldest(self) -> None:
        try:
            tag, record = next(iter(self._ended.items()))
        except (RuntimeError, StopIteration):  # a signal handler has ended a tree, and done this
            return
        if record.unverified:
            self._unproved[tag] = (record.lost, record.marked)
        record.close_streams()
        self._ended.pop(tag, None)

    def forgotten(self, pid: ProcessId) -> tuple[bool, bool] | None:
        """Of a forgotten tree that is not known to be empty: whether its guard was lost, and whether it had a mark."""
        return self._unproved.get(self._ids.number(pid)) if self._unproved else None

    def check_verified(self, pid: ProcessId, record: TreeRecord | None) -> None:
        """Raises why it is not known that an ended tree is empty: one that is forgotten, or that is not verified."""
        unverified = self.forgotten(pid) if record is None else (record.lost, record.marked)
        if unverified is not None:
            lost, marked = unverified
            if lost:
                raise guard_lost(str(pid), marked=marked)
            self.living(pid)
            raise TreeNotEmpty(f"{pid} was not empty when its manager was closed")

    def mend(self) -> None:
        """Does what was left undone when an exception interrupted something, and lets all who wait look again."""
        for record in [*self._ended.values(), *self.records.values()]:
            if record.subtree_empty and not record.left:
                self.settle(record)
            record.wake()

    def give_up(self) -> None:
        """Nobody will tell of those any more that have not settled."""
        for record in self.records.values():
            record.give_up(proved=False)
            record.left = True
        self._ended.update(self.records)
        self.records.clear()
        for record in self._ended.values():
            record.close_streams()

    def _known(self, pid: ProcessId) -> int:
        tag = self._ids.issued(pid)
        if tag is None and not isinstance(pid, uuid.UUID):
            raise TypeError(f"pid must be a ProcessId (a handle's pid, a tree's id), not {type(pid).__name__}")
        if tag is None:
            raise UnknownProcess(f"{pid!r} was not issued by this manager")
        return tag

    def _disconnect(self, record: TreeRecord) -> None:
        if record.connection is not None:
            self._connected.pop(record.connection, None)
            record.connection = None
