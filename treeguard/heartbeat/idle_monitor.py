"""Who has been silent for too long, when the one who listens may have been away."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator

from ..errors import UnknownConnection
from ..types import ConnectionId, ProcessId

__all__ = ["IdleMonitor"]

#: A check that comes more than this many intervals after the one before it is a late one.
_LATE = 1.5


class _Tracked:
    __slots__ = ("heard", "pid")

    def __init__(self, pid: ProcessId, heard: float) -> None:
        self.pid = pid
        self.heard = heard


class IdleMonitor:
    """Connections, ordered by when they were last heard. Nothing in it depends on how many there are.

    Silence is measured on a clock that stands still while nobody checks: from one check to the next at most
    ``interval`` seconds count. After a suspended machine or a blocked event loop nobody has been silent for longer than
    before it, and everybody has the time until the next check to be read.
    """

    def __init__(self, interval: float, patience: float, clock: Callable[[], float]) -> None:
        self._interval = interval
        self._patience = patience
        self._clock = clock
        self._tracked: OrderedDict[ConnectionId, _Tracked] = OrderedDict()
        self._counted = 0.0
        self._checked = clock()
        self._excused = False

    def __len__(self) -> int:
        return len(self._tracked)

    def track(self, conn: ConnectionId, pid: ProcessId) -> None:
        """From now on this connection has to be heard. To track it again for the same child is a sign of life."""
        tracked = self._tracked.get(conn)
        if tracked is None:
            self._tracked[conn] = _Tracked(pid, self._now())
        elif tracked.pid == pid:
            self.hear(conn)
        else:
            raise ValueError(f"connection {conn} is tracked already, for {tracked.pid}")

    def hear(self, conn: ConnectionId) -> None:
        """A sign of life."""
        try:
            tracked = self._tracked[conn]
        except KeyError:
            raise UnknownConnection(f"connection {conn} is not tracked") from None
        # _now(), spelled out: this is the one thing that happens often.
        gap = self._clock() - self._checked
        tracked.heard = self._counted + (gap if gap < self._interval else self._interval)
        self._tracked.move_to_end(conn)

    def forget(self, conn: ConnectionId) -> ProcessId:
        """Does not track a connection any more. Whose it was."""
        try:
            return self._tracked.pop(conn).pid
        except KeyError:
            raise UnknownConnection(f"connection {conn} is not tracked") from None

    def check(self) -> bool:
        """Lets the clock go on. Whether silence may be judged now.

        It may not when this check is late, unless the one before was excused for the same: where all checks are late
        judgement comes later, but it comes.
        """
        now = self._clock()
        late = now - self._checked > _LATE * self._interval
        self._counted = self._now()
        self._checked = now
        self._excused = late and not self._excused
        return not self._excused

    def overdue(self) -> Iterator[tuple[ConnectionId, ProcessId, float]]:
        """Who is silent for longer than allowed, and for how long, longest first."""
        now = self._now()
        for conn, tracked in self._tracked.items():
            silent = now - tracked.heard
            if silent <= self._patience:
                return
            yield conn, tracked.pid, silent

    def _now(self) -> float:
        return self._counted + min(self._clock() - self._checked, self._interval)
