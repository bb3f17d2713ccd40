"""The supervisor's end of all control connections: the attached children, their services, and the requests to them."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import math
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from .._core.waiting import checked_timeout
from .._wire.jsonrpc import ControlLimits
from .._wire.protocol import SHUTDOWN, ClientInfo, Granted, cannot_carry
from ..capability.bundle import CapabilityBundle, CapabilityToken
from ..capability.tokens import InMemoryTokenValidator, TokenValidator
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
from .bootstrap import check, offer
from .calls import Handler, Services
from .peer import Peer

__all__ = ["Connection", "ControlServer", "TokenRegister", "Tracker"]


#: Tokens stay valid for this many times the period that children have to say hello.
_SPARE = 2


class TokenRegister(TokenValidator, Protocol):
    """A validator that accepts the tokens that it will be asked about."""

    def register(self, bundle: CapabilityBundle, pid: ProcessId) -> None:
        """Makes the bundle's token valid for this child. Raises ValueError if the token is already valid."""


class Tracker(Protocol):
    """A receiver of heartbeats, such as :class:`~treeguard.HeartbeatTracker`."""

    @property
    def check_interval(self) -> float:
        """The interval in seconds at which children must send heartbeats."""
        ...

    def track_connection(self, conn: ConnectionId, pid: ProcessId) -> None:
        """Called when a child has been attached."""

    def record_heartbeat(self, conn: ConnectionId) -> None:
        """Called when the child has given a sign of life."""

    def remove(self, conn: ConnectionId) -> None:
        """Called when the child's tree has ended."""


class Connection(msgspec.Struct, frozen=True):
    """A child that is attached, and how the child describes itself."""

    pid: ProcessId
    connection: ConnectionId
    client: ClientInfo


#: Called with a child's id and its request when the child, with permission, asks to shut the whole application down.
OnShutdownTree = Callable[[ProcessId, ShutdownTreeRequest], Awaitable[object] | object]


class ControlServer:
    """Serves the children that were spawned with ``control``. docs/control.md describes the protocol.

    * ``services``: coroutine functions by the name of service and method, such as ``"storage.get"``. See :class:`Call`.
    * ``tokens``: registers and validates the children's tokens.
    * ``limits``: limits on what is accepted from a child.
    * ``hello_timeout``: the number of seconds after its start in which a child has to say hello. After that its
      connection is closed. Its tree lives on.
    * ``on_shutdown_tree``: called when a child that is allowed to asks for ``process.shutdown_application``. Without it
      all trees of that child's manager are shut down.
    * ``grace``: seconds for each step of a shutdown that a child asked for: the request, SIGTERM, and the wait after
      the kill.

    One server may serve several managers of an event loop. Nothing that a child sends raises an exception here.
    """

    def __init__(
        self,
        services: Mapping[str, Handler] | None = None,
        *,
        tokens: TokenRegister | None = None,
        limits: ControlLimits | None = None,
        hello_timeout: float = 30.0,
        on_shutdown_tree: OnShutdownTree | None = None,
        grace: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._services = Services(services or {})
        self.limits = limits or ControlLimits()
        self.hello_timeout = _positive("hello_timeout", hello_timeout)
        if tokens is None:
            tokens = InMemoryTokenValidator(lifetime=_SPARE * hello_timeout, clock=clock)
        self._tokens: TokenRegister = tokens
        self.clock = clock
        self._grace = _positive("grace", grace)
        self._on_shutdown_tree = on_shutdown_tree
        self._tracker: Tracker | None = None
        self._peers: dict[ProcessId, Peer] = {}
        self._by_connection: dict[ConnectionId, Peer] = {}
        #: The children whose trees have not ended, with their current or last connection.
        self._offered: dict[ProcessId, ConnectionId | None] = {}
        self._waiting: dict[ProcessId, set[asyncio.Future[None]]] = {}
        self._ending: dict[tuple[ConnectionId, bool], asyncio.Task[None]] = {}

    # Called by the application.

    def service(self, name: str) -> Callable[[Handler], Handler]:
        """Decorates the handler of a method, such as ``"storage.get"``. Attached children can call it at once."""

        def add(handler: Handler) -> Handler:
            self._services.add(name, handler)
            return handler

        return add

    def watch(self, tracker: Tracker) -> None:
        """Passes heartbeats to a tracker, for all children that are or will be attached.

        A connection that has ended counts as silent: a tree that outlives its connection for longer than the tracker
        allows is killed.
        """
        self._tracker = tracker
        for peer in self._peers.values():
            tracker.track_connection(peer.connection, peer.pid)

    def drain(self, connections: Sequence[ConnectionId]) -> None:
        """Reads what has arrived on these connections.

        Pass this method to a tracker as its ``drain``, so that unread data does not count as silence.
        """
        for conn in connections:
            peer = self._by_connection.get(conn)
            if peer is not None and not peer.drain():
                self.beat(peer)

    def connections(self) -> tuple[Connection, ...]:
        """Returns the attached children."""
        return tuple(Connection(each.pid, each.connection, each.client) for each in self._peers.values())

    async def wait_attached(self, pid: ProcessId, timeout: float | None = None) -> bool:
        """Waits until a child has said hello, for at most ``timeout`` seconds. Returns whether it is attached.

        The wait ends early if the child's tree ends.
        """
        checked_timeout("timeout", timeout)
        if pid in self._peers or pid not in self._offered:
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

    async def call(self, pid: ProcessId, method: str, params: object = None, *, timeout: float | None = None) -> Any:
        """Calls a method of a child, such as ``"page.show"``. JSON must encode ``params`` as an object or an array.

        The child's capabilities and quotas must permit the call, as they must for calls in the other direction.
        Otherwise this raises :class:`~treeguard.CapabilityDenied`. It also raises
        :class:`~treeguard.errors.ControlLost` if the child is not attached, or no longer,
        :class:`~treeguard.errors.RequestTimedOut`, and :class:`~treeguard.errors.RequestFailed`, or a denial, if the
        child answers with one.
        """
        checked_timeout("timeout", timeout)
        return await self._peer(pid).call(method, params, timeout)

    def tell(self, pid: ProcessId, method: str, params: object = None) -> None:
        """Sends a notification, with the same checks as :meth:`call`. The caller does not learn whether it arrives."""
        self._peer(pid).tell(method, params)

    def shutdown_request(self, pid: ProcessId, reason: str | None = None) -> SendShutdown:
        """Returns what :func:`~treeguard.graceful_shutdown_tree` and ``AskShutdown`` call to ask this child to end."""

        async def send() -> ShutdownTreeResponse:
            answer = await self._peer(pid).ask(SHUTDOWN, ShutdownTreeRequest(reason))
            return msgspec.convert(answer, ShutdownTreeResponse)

        return send

    # Called by the manager.

    def provide(self, owner: Owner, pid: ProcessId, params: SpawnParams) -> ChildResource | None:
        """See :class:`~treeguard.ext.SpawnHook`."""
        if not params.control:
            return None
        check(params)
        bundle = params.capabilities or CapabilityBundle(CapabilityToken.generate())
        granted = Granted(str(pid), str(pid), {}, self.heartbeat_interval, self.limits)
        unfit = cannot_carry(granted, bundle.capabilities)
        if unfit is not None:
            raise invalid_argument("capabilities", unfit, params.program)
        try:
            self._tokens.register(bundle, pid)
        except ValueError as e:
            raise invalid_argument("capabilities", str(e), params.program) from None
        try:
            given = offer(self, owner, pid, params, bundle.token)
        except BaseException:
            self._tokens.revoke(pid)
            raise
        self._offered[pid] = None
        return given

    # Called by the children's connections.

    @property
    def services(self) -> Mapping[str, Handler]:
        """The handlers, by name."""
        return self._services

    @property
    def tokens(self) -> TokenValidator:
        """The validator of the children's tokens."""
        return self._tokens

    @property
    def heartbeat_interval(self) -> float | None:
        """The interval in seconds at which children are asked to send heartbeats, or None without a tracker."""
        return None if self._tracker is None else self._tracker.check_interval

    def attached(self, peer: Peer) -> None:
        """Registers a child that has said hello."""
        self._peers[peer.pid] = peer
        self._by_connection[peer.connection] = peer
        self._offered[peer.pid] = peer.connection
        if self._tracker is not None:
            with contextlib.suppress(ProcessEnded):  # It is being killed.
                self._tracker.track_connection(peer.connection, peer.pid)
        self._wake(peer.pid)

    def beat(self, peer: Peer) -> None:
        """Passes a child's sign of life to the tracker."""
        if self._tracker is not None:
            with contextlib.suppress(UnknownConnection):  # The heartbeat is too late.
                self._tracker.record_heartbeat(peer.connection)

    def ended(self, peer: Peer) -> None:
        """Removes a connection that has ended. The child has no other connection."""
        if self._by_connection.pop(peer.connection, None) is not None:
            del self._peers[peer.pid]
            self._tokens.revoke(peer.pid)

    def over(self, pid: ProcessId) -> None:
        """Removes a child whose tree has ended."""
        self._tokens.revoke(pid)
        conn = self._offered.pop(pid, None)
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
        task = self._ending[key] = asyncio.get_running_loop().create_task(self._told_if_it_fails(peer, work))
        task.add_done_callback(lambda _: self._ending.pop(key))

    async def _told_if_it_fails(self, peer: Peer, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception:
            peer.failed("the shutdown that it asked for failed")

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

    def _peer(self, pid: ProcessId) -> Peer:
        try:
            return self._peers[pid]
        except KeyError:
            raise ControlLost(f"{pid} is not attached") from None

    def _wake(self, pid: ProcessId) -> None:
        for waiter in self._waiting.pop(pid, ()):
            if not (waiter.done() or waiter.get_loop().is_closed()):
                waiter.set_result(None)


def _positive(name: str, value: float) -> float:
    if checked_timeout(name, value) is None or not 0 < value < math.inf:
        raise ValueError(f"{name} must be a positive number of seconds, not {value!r}")
    return value
