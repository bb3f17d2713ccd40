"""Heartbeats: a child that has stopped giving signs of life is ended, with its tree."""

from __future__ import annotations

import asyncio
import functools
import inspect
import math
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from types import TracebackType
from typing import Protocol

from .._core.telemetry.instrumentation import tell_expired
from .._core.telemetry.log import log_of
from ..errors import NotOwner, ProcessEnded, UnknownProcess
from ..types import ConnectionId, ProcessId
from .idle_monitor import IdleMonitor

__all__ = ["HeartbeatTracker"]

_log = log_of("heartbeat")

#: Turns of the event loop from bytes in a socket to whoever awaits a line of them, and some to spare.
_TURNS_TO_READ = 8


class TreeKiller(Protocol):
    """The part of a process manager that is needed here."""

    async def kill_tree(self, pid: ProcessId) -> None: ...


OnExpired = Callable[[ConnectionId, ProcessId], object]
Drain = Callable[[Sequence[ConnectionId]], Awaitable[object] | object]


class HeartbeatTracker:
    """Kills the trees of connections that are silent for more than ``check_interval * allowed_missed_intervals``.

    An async context manager, in which it checks each ``check_interval`` seconds; or call :meth:`check` yourself.

    What was not read is not silence. From one check to the next at most ``check_interval`` counts; a check that comes
    late by more than half of it judges nobody, unless the one before was excused so too; and before anybody is judged,
    the event loop gets the turns to read what has arrived, and ``drain``, a function or coroutine function, is called
    with the connections in question, to read it itself. Those that it gives back (a tuple, list or set; None: none) are
    not judged now: of them something is still unread.

    ``on_expired`` is called with connection and child, once, before the tree is killed. A kill that fails is logged,
    and repeated at each check.
    """

    def __init__(
        self,
        manager: TreeKiller,
        check_interval: float,
        allowed_missed_intervals: int,
        *,
        on_expired: OnExpired | None = None,
        drain: Drain | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        _check_intervals(check_interval, allowed_missed_intervals)
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
        """How often it is checked, in seconds; so children should beat at least as often."""
        return self._interval

    def __len__(self) -> int:
        """How many connections are tracked."""
        return len(self._watch)

    def track_connection(self, conn: ConnectionId, pid: ProcessId) -> None:
        """From now on the child has to give signs of life on this connection.

        Each connection of a child is judged by itself. To track one again is a sign of life; a connection of another
        child raises ValueError, and a child that is being killed :class:`~treeguard.ProcessEnded`.
        """
        if pid in self._condemned:
            raise ProcessEnded(f"{pid} fell silent, and is being killed")
        self._watch.track(conn, pid)

    def record_heartbeat(self, conn: ConnectionId) -> None:
        """A sign of life. Raises :class:`~treeguard.errors.UnknownConnection` if it comes too late, too."""
        self._watch.hear(conn)

    def remove(self, conn: ConnectionId) -> None:
        """Stops tracking a connection. Raises :class:`~treeguard.errors.UnknownConnection` if it is not tracked."""
        self._watch.forget(conn)

    def expire(self, conn: ConnectionId) -> None:
        """Takes a connection for silent that says itself that its child is stuck: reports it, and begins to kill.

        Raises :class:`~treeguard.errors.UnknownConnection` if it is not tracked.
        """
        pid = self._watch.forget(conn)
        self._condemned.setdefault(pid, conn)
        tell_expired(pid, conn, "says that it hangs")
        self._report(conn, pid)
        self._kill_condemned()

    async def check(self) -> tuple[ConnectionId, ...]:
        """Judges everybody now, and waits until the trees are killed, ``check_interval`` at most. Who has expired."""
        expired = await self._judge()
        kills = self._kill_condemned()
        if kills:
            await asyncio.wait(kills, timeout=self._interval)
        return expired

    def start(self) -> None:
        """Begins to check, on the running event loop. Of the time before this one interval may count, not more."""
        if self._checking is None or self._checking.done():
            self._watch.check()
            self._checking = asyncio.get_running_loop().create_task(self._check_for_ever())

    def halt(self) -> None:
        """Ends checking, and waits for nothing; kills that are under way go on."""
        checking, self._checking = self._checking, None
        if checking is not None:
            checking.cancel()

    async def stop(self) -> None:
        """Ends checking, and waits for the kills that are under way; cancelling this cancels them."""
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

    async def _check_for_ever(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due += self._interval
            if due <= loop.time():  # It was away. What it missed is not made up for.
                due = loop.time() + self._interval
            await asyncio.sleep(due - loop.time())
            try:
                await self._judge()
                self._kill_condemned()
            except Exception:
                _log.exception("a check of heartbeats failed")

    async def _judge(self) -> tuple[ConnectionId, ...]:
        """Finds out who has expired, condemns the children and reports it."""
        if not self._watch.check():
            return ()
        suspects = [conn for conn, _, _ in self._watch.overdue()]
        if not suspects:
            return ()
        unread = await self._read(suspects)
        named = set(suspects).difference(unread)  # What reading took may have made others overdue, who were not read.
        expired = [each for each in self._watch.overdue() if each[0] in named]
        for conn, pid, _ in expired:
            self._watch.forget(conn)
            self._condemned.setdefault(pid, conn)
        for conn, pid, silent in expired:
            tell_expired(pid, conn, f"was silent for {silent:.3g} s")
            self._report(conn, pid)
        return tuple(conn for conn, _, _ in expired)

    async def _read(self, suspects: Sequence[ConnectionId]) -> Collection[ConnectionId]:
        """Those of whom something is unread."""
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
            log_of("heartbeat", pid, conn).exception("on_expired failed for connection %s of %s", conn, pid)

    def _kill_condemned(self) -> list[asyncio.Task[None]]:
        """Begins to kill, at the first time and after each failure. The kills that this began."""
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
        """Tries once. Unless it makes sense to try again, the child is not condemned any more."""
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


def _check_intervals(check_interval: float, allowed_missed_intervals: int) -> None:
    if isinstance(check_interval, bool) or not isinstance(check_interval, int | float):
        raise TypeError(f"check_interval must be a number of seconds, not {check_interval!r}")
    if not 0 < check_interval < math.inf:
        raise ValueError(f"check_interval must be positive, not {check_interval!r}")
    if isinstance(allowed_missed_intervals, bool) or not isinstance(allowed_missed_intervals, int):
        raise TypeError(f"allowed_missed_intervals must be a whole number, not {allowed_missed_intervals!r}")
    if allowed_missed_intervals < 1:
        raise ValueError(f"allowed_missed_intervals must be at least 1, not {allowed_missed_intervals!r}")
