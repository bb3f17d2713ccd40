"""systemd's notification protocol for children: unmodified daemons report that they are ready, alive, or stopping."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import sys
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Sequence

import msgspec

from .._core.processes.namespaces import inner_number, outer_number
from .._core.processes.system import iter_pids
from .._core.telemetry.log import log_of
from .._core.validation import optional_seconds
from .._core.waiting import Waiters
from .._transport.credentials import Sender, has_ended, identity, is_member
from .._transport.share import Share
from ..errors import ProcessEnded, invalid_argument, spawn_error
from ..ext import ChildResource, Owner
from ..heartbeat.tracker import HeartbeatTracker
from ..params import SpawnParams
from ..types import ChildHandle, ConnectionId, ProcessId
from .notification import NotifyMessage, parsed

__all__ = ["Notifications", "NotifyStatus", "OnHung"]

#: The number of checks within a watchdog's time.
_CHECKS = 4
#: The shortest time, in seconds, that a child may set, so that it cannot keep the loop busy.
_SHORTEST = 0.1
#: Seconds for which a refused process is not checked again, and how many such processes are kept. A check takes ten
#: times as long as everything else.
_REFUSED_FOR = 1.0
_REFUSED = 256
#: Seconds between two searches for a process that a child in a PID namespace has named.
_SEARCH_PAUSE = 0.5
#: The number of ended trees whose last status is kept.
_REMEMBERED = 1024

OnHung = Callable[[ProcessId], object]
#: Takes each datagram of a tree, and what counts of it.
Heard = Callable[[bytes, NotifyMessage], object]


class NotifyStatus(msgspec.Struct, frozen=True):
    """The state that a child has reported: ready, reloading its configuration, or stopping, and a status text.

    ``main_pid`` is the process that the child named as its main process. ``hung`` means that its watchdog was silent,
    or that the child itself reported that it hangs, and that its tree was killed for it.
    """

    ready: bool = False
    reloading: bool = False
    stopping: bool = False
    status: str | None = None
    main_pid: int | None = None
    hung: bool = False


class Notifications:
    """Provides a notification socket for each child that asks for one, and keeps the children's statuses."""

    def __init__(self, on_hung: OnHung | None = None, heard: Heard | None = None) -> None:
        self._on_hung = on_hung
        self._heard = heard
        self._strangers: Share | None = None
        self._listening: dict[ProcessId, _Notified] = {}
        self._ended: OrderedDict[ProcessId, NotifyStatus] = OrderedDict()

    def provide(self, owner: Owner, pid: ProcessId, params: SpawnParams) -> ChildResource | None:
        """See :class:`treeguard.ext.SpawnHook`."""
        if not params.notify:
            return None
        if sys.platform != "linux":
            raise invalid_argument("notify", "needs the credentials of senders, which only Linux gives", params.program)
        from .notify_socket import strangers_share  # noqa: PLC0415 - unavailable on Windows

        if self._strangers is None:
            self._strangers = strangers_share()
        try:
            notified = _Notified(owner, pid, params, self._withdrawn, self._on_hung, self._strangers, self._heard)
        except OSError as error:
            raise spawn_error("notify", error.errno or errno.EIO, params.program) from error
        self._listening[pid] = notified
        return notified

    def status(self, pid: ProcessId) -> NotifyStatus | None:
        """Returns a child's last status. None: notifications were not requested, or the child ended too long ago."""
        notified = self._listening.get(pid)
        return self._ended.get(pid) if notified is None else notified.status

    async def wait_ready(self, pid: ProcessId, timeout: float | None) -> bool | None:
        """See :meth:`treeguard.LocalProcessManager.wait_ready`. Returns None if no such child is or was known."""
        optional_seconds("timeout", timeout)
        notified = self._listening.get(pid)
        if notified is not None:
            return await notified.wait_ready(timeout)
        ended = self._ended.get(pid)
        return True if ended is not None and ended.ready else None

    def _withdrawn(self, pid: ProcessId, status: NotifyStatus) -> None:
        self._listening.pop(pid, None)
        self._ended[pid] = status
        if len(self._ended) > _REMEMBERED:
            self._ended.popitem(last=False)


class _Notified(ChildResource):
    """One child whose notifications are received."""

    #: The supervisor's own values must not reach the child.
    without_env = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC")

    def __init__(
        self,
        owner: Owner,
        pid: ProcessId,
        params: SpawnParams,
        withdrawn: Callable[[ProcessId, NotifyStatus], None],
        on_hung: OnHung | None,
        strangers: Share,
        heard: Heard | None,
    ) -> None:
        watchdog = params.watchdog
        self.status = NotifyStatus()
        self._root = self._main = 0
        self._most_more = params.max_extension
        self._owner = owner
        self._pid = pid
        self._withdrawn = withdrawn
        self._heard = heard
        self._on_hung = on_hung
        self._watchdog = None if watchdog is None else _Watchdog(owner, pid, watchdog, self._unread, self._hung)
        self._over = False
        self._patience_until = self._search_from = 0.0
        self._waiters = Waiters()
        self._complained: set[str] = set()
        self._refused: dict[int, float] = {}
        from .notify_socket import NotifySocket  # noqa: PLC0415 - unavailable on Windows

        self._mailbox = NotifySocket(self._receive, strangers)
        self.env = {"NOTIFY_SOCKET": self._mailbox.address}
        if watchdog is not None:
            # Without WATCHDOG_PID the value applies to every process that asks: sd_watchdog_enabled(3).
            self.env["WATCHDOG_USEC"] = str(max(1, round(watchdog * 1e6)))

    def started(self, child: ChildHandle) -> None:
        """See :meth:`ChildResource.started`. Senders can only be identified from now on."""
        self._root = self._main = child.os_pid
        try:
            self._mailbox.listen(asyncio.get_running_loop())
        except OSError as error:  # the loop cannot watch another descriptor
            raise spawn_error("notify", error.errno or errno.EIO, None) from error

    def withdraw(self) -> None:
        """See :meth:`ChildResource.withdraw`."""
        # The last messages may still be unread.
        self._over = True
        self._mailbox.close()
        if self._watchdog is not None:
            self._watchdog.stop()
        self._withdrawn(self._pid, self.status)
        self._waiters.wake()

    async def wait_ready(self, timeout: float | None) -> bool:
        """Returns whether the child becomes ready in time. The child may ask for more time."""
        loop = asyncio.get_running_loop()
        deadline = None if timeout is None else loop.time() + timeout
        while not self.status.ready:
            if self._over:
                raise ProcessEnded(f"{self._pid} ended before it was ready")
            left = None if deadline is None else self._extended(deadline) - loop.time()
            if left is not None and left <= 0:
                return False
            await self._waiters.wait(left)
        return True

    def _extended(self, deadline: float) -> float:
        return min(max(deadline, self._patience_until), deadline + self._most_more)

    def _unread(self, suspects: Sequence[ConnectionId]) -> Sequence[ConnectionId]:
        """See :class:`HeartbeatTracker`. Returns the connections that may have unread data."""
        return () if self._mailbox.drain() else suspects

    def _receive(self, datagram: bytes | None, who: Sender) -> bool:
        if not self._knows(who):
            self._complain("a process outside of its tree (%d, of user %d) sent a notification", who.pid, who.uid)
            return False
        if datagram is not None:
            self._take(datagram, who)
        return True

    def _take(self, datagram: bytes, who: Sender) -> None:
        told = parsed(datagram)
        if told.watchdog_time is not None or told.extend_timeout is not None:
            told = self._times_of_main(told, who)
        if self._heard is not None:
            self._heard(datagram, told)
        self._tell(told, who)
        if self._over:  # The tree may have ended while the sender was checked.
            self._withdrawn(self._pid, self.status)
            return
        if told.stores:
            self._complain("descriptors were sent to be stored, and are closed: there is no such store")
        if told.extend_timeout is not None:
            self._patience_until = asyncio.get_running_loop().time() + told.extend_timeout
        if self._watchdog is not None:
            self._watchdog.handle_datagram(told, self._most_more)
        self._waiters.wake()

    def _is_main(self, who: Sender) -> bool:
        """Returns whether the sender is the root or the main process, or whether the main process has ended.

        The first main process is the root. Each further one was named by its predecessor.
        """
        return who.pid in (self._root, self._main) or not self._has_member(self._main)

    def _times_of_main(self, told: NotifyMessage, who: Sender) -> NotifyMessage:
        """Drops times that the main process did not send, since any other process could keep a watchdog from firing."""
        if self._over or self._is_main(who):
            return told
        self._complain("a process that is not its main one (%d) wanted to set its times", who.pid)
        return msgspec.structs.replace(told, watchdog_time=None, extend_timeout=None)

    def _knows(self, who: Sender) -> bool:
        """Returns the same as :meth:`_heeds`, but does not check a refused process again for a while."""
        found = identity(who.handle)
        now = time.monotonic()
        if found is not None and self._refused.get(found, 0.0) > now:
            return False
        if self._heeds(who):
            return True
        if found is not None:
            if len(self._refused) >= _REFUSED:
                self._refused.clear()
            self._refused[found] = now + _REFUSED_FOR
        return False

    def _heeds(self, who: Sender) -> bool:
        """Returns whether a sender belongs to the tree.

        A sender that has already ended could belong to any tree or none. It is accepted if its user is this process's
        own user or root, since both could end the tree anyway.
        """
        if not self._over and is_member(who, self._has_member):
            return True
        return who.uid in (os.geteuid(), 0) and _ended(who)

    def _has_member(self, os_pid: int) -> bool:
        return self._owner.has_member(self._pid, os_pid)

    def _tell(self, told: NotifyMessage, who: Sender) -> None:
        before = self.status
        status = msgspec.structs.replace(
            before,
            ready=before.ready or told.ready,
            reloading=told.reloading or (before.reloading and not told.ready),
            stopping=before.stopping or told.stopping,
            status=before.status if told.status is None else told.status,
        )
        if told.main_pid is not None and not self._over:
            main = self._translated(told.main_pid, who)
            if main and self._has_member(main):
                status = msgspec.structs.replace(status, main_pid=main)
                if self._is_main(who):
                    self._main = main
            else:
                self._complain("a process outside of its tree (%d) was called its main process", told.main_pid)
        self.status = status
        if status != before:
            log_of("notify", self._pid).debug("%s: %s", self._pid, status)

    def _translated(self, number: int, who: Sender) -> int:
        """The process id here of a process that the sender has named; 0 if it cannot be known.

        Processes in a PID namespace know each other by other numbers. Searching for one among all processes of the host
        takes long, so a sender cannot have that done often.
        """
        if not inner_number(who.pid):
            return number
        found = outer_number((who.pid, self._root, self._main), number)
        if not found and (now := time.monotonic()) >= self._search_from:
            self._search_from = now + _SEARCH_PAUSE
            found = outer_number(filter(self._has_member, iter_pids()), number)
        return found

    def _hung(self) -> None:
        self.status = msgspec.structs.replace(self.status, hung=True)
        if self._on_hung is not None:
            self._on_hung(self._pid)

    def _complain(self, words: str, *values: object) -> None:
        """Logs each kind of problem only once, since a sender can repeat it without limit."""
        if words not in self._complained:
            self._complained.add(words)
            log_of("notify", self._pid).warning("%s: " + words, self._pid, *values)


class _WatchdogTracker(HeartbeatTracker):
    def _source(self, conn: ConnectionId, pid: ProcessId) -> str:
        return f"the watchdog of {pid}"


class _Watchdog:
    """Monitors a child's signs of life, from the time when the child is ready."""

    def __init__(
        self,
        owner: Owner,
        pid: ProcessId,
        seconds: float,
        drain: Callable[[Sequence[ConnectionId]], Sequence[ConnectionId]],
        hung: Callable[[], None],
    ) -> None:
        self._owner = owner
        self._pid = pid
        self._given = self._seconds = seconds
        self._drain = drain
        self._hung = hung
        self._conn = ConnectionId(uuid.uuid4())
        self._tracker: HeartbeatTracker | None = None
        self._expired = False

    def handle_datagram(self, told: NotifyMessage, most_more: float) -> None:
        """Handles the watchdog fields. The time may exceed its initial value by at most ``most_more`` seconds."""
        if self._expired:
            return
        if told.watchdog_time is not None:
            self._seconds = min(max(told.watchdog_time, _SHORTEST), self._given + most_more)
            if self._tracker is not None:
                self._start()
        if told.ready and self._tracker is None:
            self._start()
        if self._tracker is None:
            return
        if told.watchdog == "trigger":
            self._tracker.expire(self._conn)
        elif told.watchdog == "ping":
            self._tracker.record_heartbeat(self._conn)

    def stop(self) -> None:
        """Stops monitoring."""
        if self._tracker is not None:
            with contextlib.suppress(RuntimeError):  # its loop is closed
                self._tracker.halt()

    def _start(self) -> None:
        self.stop()
        self._tracker = _WatchdogTracker(
            self._owner, self._seconds / _CHECKS, _CHECKS, on_expired=self._expire, drain=self._drain
        )
        self._tracker.track_connection(self._conn, self._pid)
        self._tracker.start()

    def _expire(self, conn: ConnectionId, pid: ProcessId) -> None:
        self._expired = True
        self._hung()


def _ended(who: Sender) -> bool:
    if who.handle is not None:
        return has_ended(who.handle)
    try:
        handle = os.pidfd_open(who.pid)
    except ProcessLookupError:
        return True
    except OSError:  # forbidden by a filter, or not a valid id
        return False
    try:
        return has_ended(handle)
    finally:
        os.close(handle)
