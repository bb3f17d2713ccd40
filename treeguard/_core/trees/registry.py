"""The trees of a manager: those that live, and what is remembered of those that ended."""

from __future__ import annotations

import uuid
from collections import OrderedDict
from collections.abc import Iterator

from ...errors import ProcessEnded, UnknownProcess
from ...params import SpawnParams
from ...types import ConnectionId, ProcessId
from ..telemetry.instrumentation import telemetry
from .ids import IdIssuer
from .record import TreeRecord

__all__ = ["TreeRegistry"]

#: How many ended trees are remembered with their exits. Of older ones it is known only that they have ended.
_REMEMBERED = 1024


class TreeRegistry:
    """Lives by id and by tag, the running number in the id that the C core knows a tree by."""

    def __init__(self) -> None:
        telemetry()  # What it may have to import is not left for the event loop.
        self._ids = IdIssuer()
        #: Those that have not settled, by tag.
        self.lives: dict[int, TreeRecord] = {}
        self._ended: OrderedDict[int, TreeRecord] = OrderedDict()
        #: Of the forgotten, the few that are not known to be empty: whether a guard was lost, and a mark set.
        self._unproved: dict[int, tuple[bool, bool]] = {}
        self._connected: dict[ConnectionId, TreeRecord] = {}

    def __iter__(self) -> Iterator[TreeRecord]:
        """Those that have not settled, in the order of their spawns."""
        return iter(list(self.lives.values()))

    def __contains__(self, tag: int) -> bool:
        """Whether the tree has not settled yet."""
        return tag in self.lives

    def made(self, params: SpawnParams) -> TreeRecord:
        """A new tree that is not among them yet.

        Raises :class:`~treeguard.ProcessEnded` if the parent has ended.
        """
        parent = None if params.parent is None else self.alive(params.parent)
        pid, tag = self._ids.issue()
        return TreeRecord(pid, params, parent, tag)

    def add(self, life: TreeRecord) -> None:
        """Takes a new one up."""
        self.lives[life.tag] = life
        if life.parent is not None:
            life.parent.children.append(life)

    def living(self, pid: ProcessId) -> TreeRecord | None:
        """None: it has settled. Raises :class:`~treeguard.UnknownProcess` for what was never issued here."""
        life = self.lives.get(self._ids.number(pid))
        if life is not None and life.pid == pid:
            return life
        self._known(pid)
        return None

    def remembered(self, pid: ProcessId) -> TreeRecord | None:
        """The same, for one that settled not too long ago as well."""
        return self.living(pid) or self._ended.get(self._known(pid))

    def alive(self, pid: ProcessId) -> TreeRecord:
        """Raises :class:`~treeguard.ProcessEnded` if it has ended, or is being ended."""
        life = self.living(pid)
        if life is None or life.kill_requested:
            raise ProcessEnded(f"{pid} has ended")
        return life

    def connect(self, pid: ProcessId, conn: ConnectionId) -> None:
        """Binds a connection to a tree; one to one."""
        if not isinstance(conn, uuid.UUID):
            raise TypeError(f"conn must be a ConnectionId, not {type(conn).__name__}")
        life = self.alive(pid)
        other = self._connected.get(conn, life)
        if other is not life:
            raise ValueError(f"connection {conn} is attached to {other.pid} already")
        self._disconnect(life)
        life.connection = conn
        self._connected[conn] = life

    def disconnect(self, conn: ConnectionId) -> None:
        """A connection has ended, if there is such a one."""
        life = self._connected.get(conn)
        if life is not None:
            self._disconnect(life)

    def settle(self, life: TreeRecord) -> None:
        """Takes a tree out of the living that has settled, and its parent if that was all that kept it.

        This may be interrupted anywhere, and is gone on with by :meth:`mend`.
        """
        subtree_empty: TreeRecord | None = life
        while subtree_empty is not None:
            tag = subtree_empty.tag
            if subtree_empty.connection is not None:
                self._disconnect(subtree_empty)
            self._ended[tag] = subtree_empty
            if tag in self.lives:
                del self.lives[tag]
            if len(self._ended) > _REMEMBERED:
                self._forget_oldest()
            subtree_empty = subtree_empty.leave()

    def _forget_oldest(self) -> None:
        tag, life = next(iter(self._ended.items()))
        if life.unverified:
            self._unproved[tag] = (life.lost, life.marked)
        del self._ended[tag]

    def forgotten(self, pid: ProcessId) -> tuple[bool, bool] | None:
        """Of a forgotten tree that is not known to be empty: whether its guard was lost, and whether it had a mark."""
        return self._unproved.get(self._ids.number(pid)) if self._unproved else None

    def mend(self) -> None:
        """Does what was left undone when an exception interrupted something, and lets all who wait look again."""
        for life in [*self._ended.values(), *self.lives.values()]:
            if life.subtree_empty and not life.left:
                self.settle(life)
            life.wake()

    def give_up(self) -> None:
        """Nobody will tell of those any more that have not settled."""
        for life in self.lives.values():
            life.give_up(proved=False)
            life.left = True
        self._ended.update(self.lives)
        self.lives.clear()

    def _known(self, pid: ProcessId) -> int:
        tag = self._ids.issued(pid)
        if tag is None and not isinstance(pid, uuid.UUID):
            raise TypeError(f"pid must be a ProcessId (a handle's pid, a tree's id), not {type(pid).__name__}")
        if tag is None:
            raise UnknownProcess(f"{pid!r} was not issued by this manager")
        return tag

    def _disconnect(self, life: TreeRecord) -> None:
        if life.connection is not None:
            self._connected.pop(life.connection, None)
            life.connection = None
