"""The supervisor's side of one child's control connection: authenticates the child and authorizes its calls."""

from __future__ import annotations

import asyncio
import inspect
import uuid
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import msgspec

from .._core.escaping import printable
from .._transport import End, transport_on
from .._transport.credentials import Sender, is_member
from .._transport.share import Share
from .._wire.channel import Channel
from .._wire.jsonrpc import (
    BUSY,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    ErrorObject,
    Notification,
    ProtocolError,
    Request,
)
from .._wire.protocol import (
    HEARTBEAT,
    HELLO,
    NOT_ATTACHED,
    REFUSED,
    SHUTDOWN_APPLICATION,
    SHUTDOWN_OWN_TREE,
    SHUTDOWN_TREE,
    VERSION,
    WELCOME,
    ClientInfo,
    Granted,
    Hello,
    Welcome,
    error_object,
    is_name,
)
from ..capability.authorizer import Authorizer, Permit
from ..capability.bundle import CapabilityToken
from ..capability.tokens import TokenBinding
from ..errors import CapabilityDenied, ControlLost, RequestFailed, TreeguardError, capability_denied
from ..ext import Owner
from ..shutdown.ladder import ShutdownTreeRequest, ShutdownTreeResponse
from ..types import ConnectionId, ProcessId
from .calls import Call
from .rate_limited_log import RateLimitedLog, shown

if TYPE_CHECKING:
    from .children import Children

__all__ = ["Peer", "children_share"]

_LONGEST_INFO = 128
#: What a child may cost by messages that are not work: a fraction of a processor, and seconds at once.
_SHARE = 0.04
_BURST = 0.25


#: The method that asks for the end of the whole application, by its name and its earlier one.
_OF_ALL = (SHUTDOWN_APPLICATION, SHUTDOWN_TREE)


def children_share() -> Share:
    """Returns the share of the processor that one child may use up with messages that are not its permitted work."""
    return Share(_SHARE, _BURST)


class Peer:
    """The supervisor's side of one connection, from the first byte to the last."""

    def __init__(
        self,
        server: Children,
        owner: Owner,
        pid: ProcessId,
        end: End,
        log: RateLimitedLog,
        on_attached: Callable[[Peer], None],
        share: Share | None = None,
    ) -> None:
        """``share`` limits what the child may cost beyond its work. All connections of one child use the same share."""
        self._server = server
        self._on_attached = on_attached
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._channel = Channel(transport_on(end, self._loop), server.limits, self)
        self._channel.be_wary(share or children_share())
        self._tasks: set[asyncio.Task[None]] = set()
        self._meter: Authorizer | None = None
        self._hello_timer: asyncio.TimerHandle | None = None
        self.owner = owner
        self.pid = pid
        self.connection = ConnectionId(uuid.uuid4())
        self.client = ClientInfo()
        self.attached = False

    def start(self, welcome: CapabilityToken | None = None) -> None:
        """Begins to listen. ``welcome`` is the token to send to a child on an inherited end."""
        if self._hello_timer is None:
            self._hello_timer = self._loop.call_later(self._server.hello_timeout, self._give_up)
        self._channel.start(self._vet)
        if welcome is not None:
            self._channel.tell(WELCOME, Welcome(welcome.text))

    @property
    def closed(self) -> bool:
        """Whether the connection has ended."""
        return self._channel.closed

    def failed(self, words: str) -> None:
        """Logs a failure of something that was done for the child, with the exception that is being handled."""
        self._log.failed("%s", words)

    def close(self, reason: str) -> None:
        """Ends the connection."""
        self._channel.close(reason)

    def drain(self) -> bool:
        """See :meth:`Channel.drain`."""
        return self._channel.drain()

    # Requests to the child.

    async def call(self, method: str, params: object, timeout: float | None) -> object:
        """Calls a method of the child and returns the result. The child's capabilities and quotas must permit it."""
        line = self._authorized(method, params)
        return await self._channel.ask(method, line, timeout)

    def tell(self, method: str, params: object) -> None:
        """Sends a notification, with the same checks as :meth:`call`."""
        self._channel.tell(method, self._authorized(method, params))

    async def ask(self, method: str, params: object, timeout: float | None = None) -> object:
        """Sends a request of treeguard's own and returns the result."""
        return await self._channel.ask(method, params, timeout)

    def _authorized(self, method: str, params: object) -> msgspec.Raw | None:
        if self._meter is None or self.closed:
            raise ControlLost(f"{self.pid} is not attached")
        if not is_name(method):
            raise ValueError(f"{method!r} is not the name of a service and a method, such as 'page.show'")
        line = None if params is None else msgspec.Raw(msgspec.json.encode(params))
        service, _, name = method.partition(".")
        self._meter.authorize(service, name, 0 if line is None else len(memoryview(line)))
        return line

    # Requests from the child.

    def take(self, message: Request | Notification | ProtocolError) -> None:
        """See :class:`~treeguard._wire.channel.Party`."""
        if isinstance(message, ProtocolError):
            self._log.refused("sent what is no message, or not now: %s", message.problem)
        elif self._meter is None:
            self._greet(message)
        elif message.method == HEARTBEAT:
            self._channel.waste()
            self._server.beat(self)
            self._answer(message, None)
        elif message.method == SHUTDOWN_OWN_TREE:
            self._shut_down(message, own=True)
        elif message.method in _OF_ALL:
            self._shut_down(message, own=False)
        else:
            self._serve(message)

    def ended(self, reason: str, *, cut_off: bool) -> None:
        """See :class:`~treeguard._wire.channel.Party`."""
        if self._hello_timer is not None:
            self._hello_timer.cancel()
        if cut_off and self.attached:
            self._log.warning("its control connection was cut off: %s", reason)
        elif cut_off:
            self._log.refused("was cut off before it said hello: %s", reason)
        elif self.attached:
            self._log.info("its control connection has ended: %s", reason)
        if self.attached:
            self.owner.detach_connection(self.connection)
        if not self._loop.is_closed():
            for task in self._tasks:
                task.cancel()
        self._server.disconnected(self)

    def _vet(self, who: Sender) -> bool:
        if is_member(who, lambda os_pid: self.owner.has_member(self.pid, os_pid)):
            return True
        self._log.refused("process %d, which is not of the tree, sent something on its control connection", who.pid)
        self.close("somebody else sent something on it")
        return False

    def _give_up(self) -> None:
        self._log.refused("did not say hello within %g s", self._server.hello_timeout)
        self.close("nobody said hello in time")

    def _greet(self, message: Request | Notification) -> None:
        if message.method != HELLO or not isinstance(message, Request):
            self._channel.waste()
            self._log.refused("wanted %s before it said hello", shown(message.method))
            self._fail(message, ErrorObject(NOT_ATTACHED, "say hello first"))
            self.close("something else came before hello")
            return
        try:
            hello = msgspec.convert(message.params, Hello)
            if hello.protocol != VERSION:
                raise capability_denied(f"it speaks version {hello.protocol} of the protocol")
            binding = self._server.tokens.validate(CapabilityToken(hello.token), self.pid)
        except (CapabilityDenied, msgspec.ValidationError, ValueError) as e:
            # Only the log gets the reason. A process with a wrong token must learn nothing about the right one.
            self._refuse(
                message, e.strerror or e if isinstance(e, CapabilityDenied) else "its hello is not well-formed"
            )
            return
        self._channel.pause()
        self._start(self._attach(message, hello, binding))

    def _refuse(self, message: Request, problem: object) -> None:
        self._channel.waste()
        self._log.refused("was not attached: %s", problem)
        self._fail(message, ErrorObject(REFUSED, "refused"))
        self.close("its hello was refused")

    async def _attach(self, message: Request, hello: Hello, binding: TokenBinding) -> None:
        granted = Granted(
            str(self.pid),
            str(self.connection),
            msgspec.to_builtins(binding.capabilities),
            self._server.heartbeat_interval,
            self._server.limits,
        )
        try:
            await self.owner.attach_connection(self.pid, self.connection)
            self._answer(message, granted)
        except (TreeguardError, ValueError) as e:
            self._refuse(message, e)
        if self.closed:  # It was closed meanwhile: the tree may have ended.
            self.owner.detach_connection(self.connection)
            return
        if self._hello_timer is not None:
            self._hello_timer.cancel()
        self.client = ClientInfo(
            *(printable(each[:_LONGEST_INFO]) for each in (hello.client.name, hello.client.version))
        )
        self._meter = binding.capabilities.meter(clock=self._server.clock)
        self._log.attached(self.connection)
        self._log.info("attached as %s, client %s", self.connection, shown(self.client.name))
        self.attached = True
        self._server.attached(self)
        self._on_attached(self)
        self._channel.trust()
        self._channel.resume()

    def _serve(self, message: Request | Notification) -> None:
        """Starts a call to one of the application's services."""
        assert self._meter is not None
        if not is_name(message.method):
            self._channel.waste()
            self._log.refused("called %s, which can be no method's name", shown(message.method))
            self._fail(message, ErrorObject(METHOD_NOT_FOUND, "no such method"))
            return
        service, _, method = message.method.partition(".")
        if len(self._tasks) >= self._server.limits.pending:
            # The session counts requests. This check is about notifications, which get no answer.
            self._channel.waste()
            self._log.refused("sent %s while too much is under way", shown(message.method))
            self._fail(message, ErrorObject(BUSY, "too much is under way"))
            return
        try:
            self._meter.authorize(service, method, message.size)
            slot = self._meter.request()
        except CapabilityDenied as e:
            self._channel.waste()
            self._log.refused("%s", e.strerror)
            self._fail(message, error_object(e))
            return
        self._start(self._handle(message, slot))

    async def _handle(self, message: Request | Notification, slot: Permit) -> None:
        with slot:
            try:
                handler = self._server.services.get(message.method)
                if handler is None:
                    raise RequestFailed("no such method", METHOD_NOT_FOUND)
                assert self._meter is not None
                call = Call(self.pid, self.connection, message.method, message.params, message.size, self._meter)
                result = handler(call)
                self._answer(message, await result if inspect.isawaitable(result) else result)
            except asyncio.CancelledError:
                self._fail(message, ErrorObject(INTERNAL_ERROR, "cancelled"))
                raise
            except Exception as e:
                error = error_object(e)
                if error.code == INTERNAL_ERROR and not isinstance(e, RequestFailed):
                    self._log.failed("%s failed", message.method)
                self._fail(message, error)

    def _shut_down(self, message: Request | Notification, *, own: bool) -> None:
        self._channel.waste()  # One request is enough, so it does not count as work.
        try:
            if not own:
                self._authorize_shutdown_of_all(message)
            params = {} if message.params is None else message.params
            request = msgspec.convert(params, ShutdownTreeRequest)
        except CapabilityDenied as e:
            self._log.refused("%s", e.strerror)
            self._fail(message, error_object(e))
        except msgspec.ValidationError as e:
            self._fail(message, ErrorObject(INVALID_PARAMS, str(e)))
        else:
            self._answer(message, ShutdownTreeResponse(acknowledged=True))
            self._log.wanted("wants %s to be shut down: %s", "its tree" if own else "all", shown(str(request.reason)))
            self._server.shut_down(self, request, own=own)

    def _authorize_shutdown_of_all(self, message: Request | Notification) -> None:
        """Either name of the method may be allowed. The error is that of the name that was called."""
        assert self._meter is not None
        denied: CapabilityDenied | None = None
        for name in sorted(_OF_ALL, key=message.method.__ne__):
            service, _, method = name.partition(".")
            try:
                self._meter.authorize(service, method, message.size)
                return
            except CapabilityDenied as error:
                denied = denied or error
        assert denied is not None
        raise denied

    # Answers.

    def _answer(self, message: Request | Notification, result: object) -> None:
        if isinstance(message, Request) and not self.closed:
            self._channel.answer(message.id, result)

    def _fail(self, message: Request | Notification, error: ErrorObject) -> None:
        if isinstance(message, Request) and not self.closed:
            self._channel.fail(message.id, error)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
