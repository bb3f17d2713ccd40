"""Finds connections that have been silent for too long, even if the monitor itself may have been suspended."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator

from ..errors import UnknownConnection
from ..types import ConnectionId, ProcessId

__all__ = ["IdleMonitor"]

#: A check is late if it comes more than this many intervals after the previous one.
_LATE = 1.5


class _Tracked:
    __slots__ = ("heard", "pid")

    def __init__(self, pid: ProcessId, heard: float) -> None:
        self.pid = pid
        self.heard = heard


class IdleMonitor:
    """Connections, ordered by their last sign of life. No operation depends on the number of connections.

    Silence is measured on a clock that stops when checks stop: from one check to the next, at most ``interval`` seconds
    count. After the machine was suspended or the event loop was blocked, no connection counts as silent for longer than
    before, and each one has until the next check to be read.
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
        """Starts to expect signs of life. Tracking a connection again for the same child counts as one."""
        tracked = self._tracked.get(conn)
        if tracked is None:
            self._tracked[conn] = _Tracked(pid, self._now())
        elif tracked.pid == pid:
            self.hear(conn)
        else:
            raise ValueError(f"connection {conn} is tracked already, for {tracked.pid}")

    def hear(self, conn: ConnectionId) -> None:
        """Records a sign of life."""
        try:
            tracked = self._tracked[conn]
        except KeyError:
            raise UnknownConnection(f"connection {conn} is not tracked") from None
        # _now(), inlined: this method is called far more often than the others.
        gap = self._clock() - self._checked
        tracked.heard = self._counted + (gap if gap < self._interval else self._interval)
        self._tracked.move_to_end(conn)

    def forget(self, conn: ConnectionId) -> ProcessId:
        """Stops tracking a connection and returns its child."""
        try:
            return self._tracked.pop(conn).pid
        except KeyError:
            raise UnknownConnection(f"connection {conn} is not tracked") from None

    def check(self) -> bool:
        """Advances the clock. Returns whether silence may be judged now.

        It may not if this check is late, unless the previous check was excused for the same reason. If all checks are
        late, the judgement comes later, but it does come.
        """
        now = self._clock()
        late = now - self._checked > _LATE * self._interval
        self._counted = self._now()
        self._checked = now
        self._excused = late and not self._excused
        return not self._excused

    def overdue(self) -> Iterator[tuple[ConnectionId, ProcessId, float]]:
        """Yields the connections that are silent for too long, with their children and seconds, longest first."""
        now = self._now()
        for conn, tracked in self._tracked.items():
            silent = now - tracked.heard
            if silent <= self._patience:
                return
            yield conn, tracked.pid, silent

    def _now(self) -> float:
        return self._counted + min(self._clock() - self._checked, self._interval)
