"""Heartbeats: ends a child and its tree when the child no longer gives signs of life."""

from __future__ import annotations

import asyncio
import functools
import inspect
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from .._core.telemetry.instrumentation import tell_expired
from .._core.telemetry.log import log_of
from .._core.validation import (
    connection_id,
    function,
    plain_function,
    positive_seconds,
    process_id,
    whole_number,
    wrong_type,
)
from ..errors import NotOwner, ProcessEnded, UnknownConnection, UnknownProcess
from ..types import ConnectionId, ProcessId
from .idle_monitor import IdleMonitor

if TYPE_CHECKING:
    from ..ext import Owner
    from ..manager import ProcessManager

__all__ = ["HeartbeatTracker"]

_log = log_of("heartbeat")

#: Turns of the event loop between bytes in a socket and the task that awaits a line of them, plus some spare turns.
_TURNS_TO_READ = 8


OnExpired = Callable[[ConnectionId, ProcessId], object]
Drain = Callable[[Sequence[ConnectionId]], Awaitable[object] | object]


class HeartbeatTracker:
    """Kills the trees of connections that are silent for more than ``check_interval * allowed_missed_intervals``.

    This is an async context manager that checks every ``check_interval`` seconds. Alternatively, call :meth:`check`.

    Unread data does not count as silence. From one check to the next, at most ``check_interval`` counts. A check that
    is late by more than half of it judges no connection, unless the previous check was excused for the same reason.
    Before connections are judged, the event loop gets enough turns to read what has arrived. Then ``drain``, a function
    or coroutine function, is called with the suspected connections and can read their data itself. It returns those
    that still have unread data (a tuple, list or set, or None for none). They are not judged this time.

    ``on_expired`` is called once with the connection and the child, before the tree is killed. A failed kill is logged,
    and repeated at each check.
    """

    def __init__(
        self,
        manager: ProcessManager | Owner,
        check_interval: float,
        allowed_missed_intervals: int,
        *,
        on_expired: OnExpired | None = None,
        drain: Drain | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not callable(getattr(manager, "kill_tree", None)):
            raise wrong_type("manager", "a ProcessManager", manager)
        positive_seconds("check_interval", check_interval)
        whole_number("allowed_missed_intervals", allowed_missed_intervals, least=1)
        plain_function("on_expired", on_expired, optional=True)
        function("drain", drain, optional=True)
        function("clock", clock)
        self._manager = manager
        self._interval = check_interval
        self._on_expired = on_expired
        self._drain = drain
        self._watch = IdleMonitor(check_interval, check_interval * allowed_missed_intervals, clock)
        self._condemned: dict[ProcessId, ConnectionId] = {}
        self._kills: dict[ProcessId, asyncio.Task[None]] = {}
        self._checking: asyncio.Task[None] | None = None

    @property
    def check_interval(self) -> float:
        """The interval between checks, in seconds. Children should send heartbeats at least as often."""
        return self._interval

    def __len__(self) -> int:
        """Returns how many connections are tracked."""
        return len(self._watch)

    def track_connection(self, conn: ConnectionId, pid: ProcessId) -> None:
        """Starts to expect heartbeats from the child on this connection.

        Each connection of a child is judged separately. Tracking a connection again counts as a heartbeat. Raises
        ValueError if the connection is tracked for another child, and :class:`~treeguard.ProcessEnded` if the child is
        being killed.
        """
        connection_id("conn", conn)
        if process_id("pid", pid) in self._condemned:
            raise ProcessEnded(f"{pid} fell silent, and is being killed")
        self._watch.track(conn, pid)

    def record_heartbeat(self, conn: ConnectionId) -> None:
        """Records a heartbeat. Raises :class:`~treeguard.errors.UnknownConnection`, also if it is too late."""
        try:
            self._watch.hear(conn)
        except (
            UnknownConnection,
            TypeError,
            ValueError,
        ):  # Its type is checked only now, since this is called most often.
            connection_id("conn", conn)
            raise

    def remove(self, conn: ConnectionId) -> None:
        """Stops tracking a connection. Raises :class:`~treeguard.errors.UnknownConnection` if it is not tracked."""
        self._watch.forget(connection_id("conn", conn))

    def expire(self, conn: ConnectionId) -> None:
        """Handles a child's own report that it hangs: calls ``on_expired`` and begins to kill the tree.

        Raises :class:`~treeguard.errors.UnknownConnection` if the connection is not tracked.
        """
        pid = self._watch.forget(connection_id("conn", conn))
        self._condemned.setdefault(pid, conn)
        tell_expired(pid, conn, f"{self._source(conn, pid)} reported that it hangs")
        self._report(conn, pid)
        self._kill_condemned()

    async def check(self) -> tuple[ConnectionId, ...]:
        """Judges all connections now, and returns those that have expired.

        Waits until their trees are killed, for at most ``check_interval`` seconds.
        """
        expired = await self._judge()
        kills = self._kill_condemned()
        if kills:
            await asyncio.wait(kills, timeout=self._interval)
        return expired

    def start(self) -> None:
        """Starts to check on the running event loop. Of the time before it, at most one interval counts as silence."""
        if self._checking is None or self._checking.done():
            self._watch.check()
            self._checking = asyncio.get_running_loop().create_task(self._check_for_ever())

    def halt(self) -> None:
        """Stops checking without waiting. Kills that are under way continue."""
        checking, self._checking = self._checking, None
        if checking is not None:
            checking.cancel()

    async def stop(self) -> None:
        """Stops checking and waits for the kills that are under way. Cancelling this call cancels them."""
        checking = self._checking
        tasks = [*self._kills.values(), *([] if checking is None else [checking])]
        self.halt()
        try:
            if tasks:
                await asyncio.wait(tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def __aenter__(self) -> HeartbeatTracker:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def _source(self, conn: ConnectionId, pid: ProcessId) -> str:
        """Returns what heartbeats come from, for the log."""
        return f"connection {conn} of {pid}"

    async def _check_for_ever(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due += self._interval
            if due <= loop.time():  # The loop was blocked. Missed checks are not made up for.
                due = loop.time() + self._interval
            await asyncio.sleep(due - loop.time())
            try:
                await self._judge()
                self._kill_condemned()
            except Exception:
                _log.exception("a check of heartbeats failed")

    async def _judge(self) -> tuple[ConnectionId, ...]:
        """Finds the expired connections, condemns their children and reports them."""
        if not self._watch.check():
            return ()
        suspects = [conn for conn, _, _ in self._watch.overdue()]
        if not suspects:
            return ()
        unread = await self._read(suspects)
        named = set(suspects).difference(unread)  # Connections that became overdue meanwhile were not read.
        expired = [each for each in self._watch.overdue() if each[0] in named]
        for conn, pid, _ in expired:
            self._watch.forget(conn)
            self._condemned.setdefault(pid, conn)
        for conn, pid, silent in expired:
            tell_expired(pid, conn, f"{self._source(conn, pid)} was silent for {silent:.3g} s")
            self._report(conn, pid)
        return tuple(conn for conn, _, _ in expired)

    async def _read(self, suspects: Sequence[ConnectionId]) -> Collection[ConnectionId]:
        """Returns the connections that still have unread data."""
        for _ in range(_TURNS_TO_READ):
            await asyncio.sleep(0)
        if self._drain is None:
            return ()
        try:
            unread = self._drain(suspects)
            if inspect.isawaitable(unread):
                unread = await unread
        except Exception:
            _log.exception("what has arrived could not be read before judging %d silent connections", len(suspects))
            return ()
        return unread if isinstance(unread, tuple | list | set | frozenset) else ()

    def _report(self, conn: ConnectionId, pid: ProcessId) -> None:
        if self._on_expired is None:
            return
        try:
            self._on_expired(conn, pid)
        except Exception:
            log_of("heartbeat", pid, conn).exception("on_expired failed for %s", self._source(conn, pid))

    def _kill_condemned(self) -> list[asyncio.Task[None]]:
        """Starts a kill for each condemned child that has none, and returns the new kills. Retries failed ones, too."""
        begun = []
        for pid, conn in self._condemned.items():
            if pid not in self._kills:
                task = self._kills[pid] = asyncio.ensure_future(self._kill(pid, conn))
                task.add_done_callback(functools.partial(self._end_kill, pid))
                begun.append(task)
        return begun

    def _end_kill(self, pid: ProcessId, kill: asyncio.Task[None]) -> None:
        self._kills.pop(pid)

    async def _kill(self, pid: ProcessId, conn: ConnectionId) -> None:
        """Tries to kill once. The child stays condemned only if another attempt makes sense."""
        try:
            await self._manager.kill_tree(pid)
        except ProcessEnded:
            pass
        except (UnknownProcess, NotOwner) as e:
            log_of("heartbeat", pid, conn).error("the tree of %s cannot be killed from here: %s", pid, e)
        except Exception:
            log_of("heartbeat", pid, conn).exception("the tree of %s could not be killed; this is tried again", pid)
            return
        del self._condemned[pid]
