"""The children of a control server: their tokens, connections and heartbeats, and the shutdowns that they ask for.

:class:`~treeguard.ControlServer` is what the application sees of it. The manager uses it as a
:class:`~treeguard.ext.SpawnHook`, and the connections report to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from .._wire.message_limits import ControlLimits
from .._wire.protocol import SHUTDOWN, Granted, cannot_carry
from ..capability.bundle import CapabilityBundle, CapabilityToken
from ..capability.tokens import TokenValidator
from ..errors import ControlLost, ProcessEnded, UnknownConnection, invalid_argument
from ..ext import ChildResource, Owner
from ..params import SpawnParams
from ..shutdown.ladder import (
    AskShutdown,
    Kill,
    SendShutdown,
    ShutdownStep,
    ShutdownTreeRequest,
    ShutdownTreeResponse,
    Terminate,
)
from ..types import ConnectionId, ProcessId
from .bootstrap import bootstrap, check_available
from .calls import Services

if TYPE_CHECKING:
    from ..heartbeat.tracker import HeartbeatTracker
    from .peer import Peer

__all__ = ["Children", "OnShutdownTree"]

#: Called with a child's id and its request when the child, with permission, asks to shut the whole application down.
OnShutdownTree = Callable[[ProcessId, ShutdownTreeRequest], Awaitable[object] | object]


class Children:
    """What all children of a server share, and the state of each."""

    def __init__(
        self,
        *,
        services: Services,
        tokens: TokenValidator,
        limits: ControlLimits,
        hello_timeout: float,
        on_shutdown_tree: OnShutdownTree | None,
        grace: float,
        clock: Callable[[], float],
    ) -> None:
        self.services = services
        self.tokens = tokens
        self.limits = limits
        self.hello_timeout = hello_timeout
        self.clock = clock
        self._on_shutdown_tree = on_shutdown_tree
        self._grace = grace
        self._tracker: HeartbeatTracker | None = None
        #: The attached children.
        self._peers: dict[ProcessId, Peer] = {}
        self._by_connection: dict[ConnectionId, Peer] = {}
        #: The children whose trees have not ended, with their current or last connection.
        self._alive: dict[ProcessId, ConnectionId | None] = {}
        self._waiting: dict[ProcessId, set[asyncio.Future[None]]] = {}
        self._ending: dict[tuple[ConnectionId, bool], asyncio.Task[None]] = {}

    # Called by the server.

    @property
    def peers(self) -> Mapping[ProcessId, Peer]:
        """The connections of the attached children."""
        return self._peers

    def peer(self, pid: ProcessId) -> Peer:
        """Returns the connection of an attached child. Raises :class:`~treeguard.errors.ControlLost`."""
        try:
            return self._peers[pid]
        except KeyError:
            raise ControlLost(f"{pid} is not attached") from None

    def watch(self, tracker: HeartbeatTracker) -> None:
        """See :meth:`ControlServer.watch`."""
        self._tracker = tracker
        for peer in self._peers.values():
            tracker.track_connection(peer.connection, peer.pid)

    def drain(self, conn: ConnectionId) -> None:
        """Reads what has arrived on a connection. What is still unread counts as a heartbeat."""
        peer = self._by_connection.get(conn)
        if peer is not None and not peer.drain():
            self.beat(peer)

    async def wait_attached(self, pid: ProcessId, timeout: float | None) -> bool:
        """See :meth:`ControlServer.wait_attached`."""
        if pid in self._peers or pid not in self._alive:
            return pid in self._peers
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(pid, set()).add(waiter)
        try:
            await asyncio.wait({waiter}, timeout=timeout)
        finally:
            waiters = self._waiting.get(pid, set())
            waiters.discard(waiter)
            if not waiters:
                self._waiting.pop(pid, None)
        return pid in self._peers

    def shutdown_request(self, pid: ProcessId, reason: str | None) -> SendShutdown:
        """See :meth:`ControlServer.shutdown_request`."""

        async def send() -> ShutdownTreeResponse:
            answer = await self.peer(pid).ask(SHUTDOWN, ShutdownTreeRequest(reason))
            return msgspec.convert(answer, ShutdownTreeResponse)

        return send

    # Called by the manager.

    def provide(self, owner: Owner, pid: ProcessId, params: SpawnParams) -> ChildResource | None:
        """See :class:`~treeguard.ext.SpawnHook`."""
        if not params.control:
            return None
        check_available(params)
        bundle = params.capabilities or CapabilityBundle(CapabilityToken.generate())
        granted = Granted(str(pid), str(pid), {}, self.heartbeat_interval, self.limits)
        unfit = cannot_carry(granted, bundle.capabilities)
        if unfit is not None:
            raise invalid_argument("capabilities", unfit, params.program)
        try:
            self.tokens.register(bundle, pid)
        except ValueError as e:
            raise invalid_argument("capabilities", str(e), params.program) from None
        try:
            given = bootstrap(self, owner, pid, params, bundle.token)
        except BaseException:
            self.tokens.revoke(pid)
            raise
        self._alive[pid] = None
        return given

    # Called by the children's connections.

    @property
    def heartbeat_interval(self) -> float | None:
        """The interval in seconds at which children are asked to send heartbeats, or None without a tracker."""
        return None if self._tracker is None else self._tracker.check_interval

    def attached(self, peer: Peer) -> None:
        """Registers a child that has said hello."""
        self._peers[peer.pid] = peer
        self._by_connection[peer.connection] = peer
        self._alive[peer.pid] = peer.connection
        if self._tracker is not None:
            with contextlib.suppress(ProcessEnded):  # It is being killed.
                self._tracker.track_connection(peer.connection, peer.pid)
        self._wake(peer.pid)

    def beat(self, peer: Peer) -> None:
        """Passes a child's sign of life to the tracker."""
        if self._tracker is not None:
            with contextlib.suppress(UnknownConnection):  # The heartbeat is too late.
                self._tracker.record_heartbeat(peer.connection)

    def disconnected(self, peer: Peer) -> None:
        """Removes a connection that has ended. The child has no other connection."""
        if self._by_connection.pop(peer.connection, None) is not None:
            del self._peers[peer.pid]
            self.tokens.revoke(peer.pid)

    def ended(self, pid: ProcessId) -> None:
        """Removes a child whose tree has ended or was not started."""
        self.tokens.revoke(pid)
        conn = self._alive.pop(pid, None)
        if conn is not None and self._tracker is not None:
            with contextlib.suppress(UnknownConnection):  # It fell silent first.
                self._tracker.remove(conn)
        self._wake(pid)

    def shut_down(self, peer: Peer, request: ShutdownTreeRequest, *, own: bool) -> None:
        """Begins to shut down a child's own tree, or all trees, for a child that has asked for it and may do so."""
        key = peer.connection, own
        if key in self._ending:  # A second request changes nothing.
            return
        work = self._end_tree(peer) if own else self._end_all(peer, request)
        task = self._ending[key] = asyncio.get_running_loop().create_task(_report_failure(peer, work))
        task.add_done_callback(lambda _: self._ending.pop(key))

    async def _end_tree(self, peer: Peer) -> None:
        await peer.owner.shutdown(peer.pid, self._by_signals())

    async def _end_all(self, peer: Peer, request: ShutdownTreeRequest) -> None:
        if self._on_shutdown_tree is None:
            await peer.owner.shutdown_all(lambda child: self._by_asking(child.pid, request.reason))
            return
        result = self._on_shutdown_tree(peer.pid, request)
        if inspect.isawaitable(result):
            await result

    def _by_signals(self) -> tuple[ShutdownStep, ...]:
        return Terminate(self._grace), Kill(self._grace)

    def _by_asking(self, pid: ProcessId, reason: str | None) -> tuple[ShutdownStep, ...]:
        if pid not in self._peers:
            return self._by_signals()
        return AskShutdown(self.shutdown_request(pid, reason), self._grace, self._grace), *self._by_signals()

    def _wake(self, pid: ProcessId) -> None:
        for waiter in self._waiting.pop(pid, ()):
            if not (waiter.done() or waiter.get_loop().is_closed()):
                waiter.set_result(None)


async def _report_failure(peer: Peer, work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except Exception:
        peer.failed("the shutdown that it asked for failed")
