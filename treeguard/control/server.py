"""The supervisor's end of all control connections: what the application calls."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from .._core.validation import (
    function,
    instance,
    items,
    optional_seconds,
    positive_seconds,
    process_id,
    wrong_type,
)
from .._wire.message_limits import ControlLimits
from .._wire.protocol import ClientInfo
from ..capability.tokens import InMemoryTokenValidator, TokenValidator
from ..shutdown.ladder import SendShutdown
from ..types import ConnectionId, ProcessId
from .calls import Handler, Services
from .children import Children, OnShutdownTree

if TYPE_CHECKING:
    from ..heartbeat.tracker import HeartbeatTracker

__all__ = ["Connection", "ControlServer"]

#: Tokens stay valid for this many times the period that children have to say hello.
_SPARE = 2


class Connection(msgspec.Struct, frozen=True):
    """A child that is attached, and how the child describes itself."""

    pid: ProcessId
    connection: ConnectionId
    client: ClientInfo


class ControlServer:
    """Serves the children that were spawned with ``control``. docs/control.md describes the protocol.

    * ``services``: coroutine functions, or functions that do not block, by the name of service and method, such as
      ``"storage.get"``. Each takes a :class:`Call`.
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
        tokens: TokenValidator | None = None,
        limits: ControlLimits | None = None,
        hello_timeout: float = 30.0,
        on_shutdown_tree: OnShutdownTree | None = None,
        grace: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        instance("limits", limits, ControlLimits | None, "ControlLimits or None")
        function("on_shutdown_tree", on_shutdown_tree, optional=True)
        function("clock", clock)
        positive_seconds("hello_timeout", hello_timeout)
        positive_seconds("grace", grace)
        if tokens is None:
            tokens = InMemoryTokenValidator(lifetime=_SPARE * hello_timeout, clock=clock)
        for name in ("register", "validate", "revoke"):
            if not callable(getattr(tokens, name, None)):
                raise wrong_type("tokens", f"a TokenValidator, which has a method {name!r}", tokens)
        self._children = Children(
            services=Services({} if services is None else instance("services", services, Mapping, "a mapping")),
            tokens=tokens,
            limits=limits or ControlLimits(),
            hello_timeout=hello_timeout,
            on_shutdown_tree=on_shutdown_tree,
            grace=grace,
            clock=clock,
        )

    @property
    def services(self) -> Mapping[str, Handler]:
        """The handlers, by name."""
        return self._children.services

    def service(self, name: str) -> Callable[[Handler], Handler]:
        """Decorates the handler of a method, such as ``"storage.get"``. Attached children can call it at once."""
        self._children.services.check(name)

        def add(handler: Handler) -> Handler:
            self._children.services.add(name, handler)
            return handler

        return add

    def watch(self, tracker: HeartbeatTracker) -> None:
        """Passes heartbeats to a tracker, for all children that are or will be attached.

        A connection that has ended counts as silent: a tree that outlives its connection for longer than the tracker
        allows is killed.
        """
        for name in ("track_connection", "record_heartbeat", "remove"):
            if not callable(getattr(tracker, name, None)):
                raise wrong_type("tracker", "a HeartbeatTracker", tracker)
        self._children.watch(tracker)

    def drain(self, connections: Sequence[ConnectionId]) -> None:
        """Reads what has arrived on these connections.

        Pass this method to a tracker as its ``drain``, so that unread data does not count as silence.
        """
        for conn in items("connections", connections, "a sequence of ConnectionId"):
            self._children.drain(conn)

    def connections(self) -> tuple[Connection, ...]:
        """Returns the attached children."""
        return tuple(Connection(each.pid, each.connection, each.client) for each in self._children.peers.values())

    async def wait_attached(self, pid: ProcessId, timeout: float | None = None) -> bool:
        """Waits until a child has said hello, for at most ``timeout`` seconds. Returns whether it is attached.

        The wait ends early if the child's tree ends.
        """
        process_id("pid", pid)
        optional_seconds("timeout", timeout)
        return await self._children.wait_attached(pid, timeout)

    async def call(self, pid: ProcessId, method: str, params: object = None, *, timeout: float | None = None) -> Any:
        """Calls a method of a child, such as ``"page.show"``. JSON must encode ``params`` as an object or an array.

        The child's capabilities and quotas must permit the call, as they must for calls in the other direction.
        Otherwise this raises :class:`~treeguard.CapabilityDenied`. It also raises
        :class:`~treeguard.errors.ControlLost` if the child is not attached, or no longer,
        :class:`~treeguard.errors.RequestTimedOut`, and :class:`~treeguard.errors.RequestFailed`, or a denial, if the
        child answers with one.
        """
        optional_seconds("timeout", timeout)
        return await self._children.peer(process_id("pid", pid)).call(method, params, timeout)

    def tell(self, pid: ProcessId, method: str, params: object = None) -> None:
        """Sends a notification, with the same checks as :meth:`call`. The caller does not learn whether it arrives."""
        self._children.peer(process_id("pid", pid)).tell(method, params)

    def shutdown_request(self, pid: ProcessId, reason: str | None = None) -> SendShutdown:
        """Returns what :func:`~treeguard.graceful_shutdown_tree` and ``AskShutdown`` call to ask this child to end."""
        instance("reason", reason, str | None, "a string or None")
        return self._children.shutdown_request(process_id("pid", pid), reason)
