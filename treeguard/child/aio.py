"""The child's side of the control connection, for asyncio.

Three lines connect a program to its supervisor::

    from treeguard.child.aio import connect
    async with connect(on_shutdown=stop) as control:
        await work()
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from .._core.validation import optional_seconds
from .._core.waiting import aside
from .._transport import End, transport_on
from .._wire.channel import Channel
from .._wire.jsonrpc import Notification, ProtocolError, Request
from .._wire.message_limits import ControlLimits
from .._wire.protocol import HEARTBEAT, SHUTDOWN_APPLICATION, SHUTDOWN_OWN_TREE, Granted, error_object
from ..errors import ControlLost, RequestFailed, RequestTimedOut
from .handshake import (
    ACKNOWLEDGED,
    checked_methods,
    end_by_signal,
    find,
    granted,
    greeting,
    heartbeat_pause,
    hello,
    is_supervised,
    method_for,
    reason_of,
)

__all__ = ["Control", "Method", "OnShutdown", "connect", "is_supervised"]

#: A method that the supervisor may call: a coroutine function, or a function that does not block. It takes the
#: parameters and returns the result.
Method = Callable[[Any], Awaitable[object] | object]
#: A function or coroutine function. It is called with the reason for the shutdown, after the request has been
#: acknowledged.
OnShutdown = Callable[[str | None], object]


@contextlib.asynccontextmanager
async def connect(
    *,
    on_shutdown: OnShutdown | None = None,
    methods: Mapping[str, Method] | None = None,
    name: str = "",
    version: str = "",
    timeout: float = 30.0,
) -> AsyncIterator[Control]:
    """Takes this process's control connection and says hello. The connection ends when the context is left.

    Inside the context, the event loop sends heartbeats if the supervisor expects them, so a loop that hangs falls
    silent. ``on_shutdown`` is called to end the process; without it, the process sends itself SIGTERM. ``methods`` are
    the methods that the supervisor may call. A method named ``process.shutdown`` also replaces the default answer to
    that request.

    Raises :class:`~treeguard.errors.ControlLost` if there is no connection, :class:`~treeguard.CapabilityDenied` if it
    is refused, and :class:`~treeguard.errors.RequestTimedOut`.
    """
    known = checked_methods(methods, on_shutdown=on_shutdown, name=name, version=version, timeout=timeout)
    end, token = await _found()
    try:
        control = Control(end, on_shutdown or end_by_signal, known)
    except BaseException:
        end.close()
        raise
    try:
        await control._say_hello(token, name, version, timeout)
        yield control
    finally:
        control.close()


async def _found() -> tuple[End, str | None]:
    """Finds the connection in a thread, since its token may be on a standard input that has not come yet.

    If this is cancelled, the thread may still find the connection afterwards, and closes it then.
    """
    lock = threading.Lock()
    found: list[tuple[End, str | None]] = []
    cancelled = False

    def search() -> None:
        result = find()
        with lock:
            if cancelled:
                result[0].close()
            else:
                found.append(result)

    try:
        await aside(search)
    except BaseException:
        with lock:
            cancelled = True
            for end, _ in found:
                end.close()
        raise
    return found[0]


class _Receiver:
    """What the channel calls: see :class:`~treeguard._wire.channel.Party`."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def take(self, message: Request | Notification | ProtocolError) -> None:
        self._control._take(message)

    def ended(self, reason: str, *, cut_off: bool) -> None:
        self._control._ended(reason)


class Control:
    """A control connection on this event loop. :func:`connect` creates it."""

    #: What the supervisor granted, including the heartbeat interval.
    granted: Granted

    def __init__(self, end: End, on_shutdown: OnShutdown, methods: dict[str, Method]) -> None:
        self._on_shutdown = on_shutdown
        self._methods = methods
        self._loop = asyncio.get_running_loop()
        self._welcome: asyncio.Future[str] = self._loop.create_future()
        self._beat: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._channel = Channel(transport_on(end, self._loop), ControlLimits(), _Receiver(self))

    @property
    def closed(self) -> bool:
        """Whether the connection has ended."""
        return self._channel.closed

    async def call(self, method: str, params: object = None, *, timeout: float | None = None) -> Any:
        """Calls a service of the supervisor, such as ``"storage.get"``, and returns its answer.

        Raises :class:`~treeguard.CapabilityDenied`, :class:`~treeguard.errors.QuotaExceeded` with ``retry_after``,
        :class:`~treeguard.errors.RequestFailed`, :class:`~treeguard.errors.RequestTimedOut`, and
        :class:`~treeguard.errors.ControlLost`.
        """
        optional_seconds("timeout", timeout)
        return await self._channel.ask(method, params, timeout)

    def tell(self, method: str, params: object = None) -> None:
        """Sends a notification to a service, which gets no answer."""
        self._channel.tell(method, params)

    def heartbeat(self) -> None:
        """Sends a heartbeat. The event loop also does so on its own."""
        self._channel.tell(HEARTBEAT)

    async def shut_down_own_tree(self, reason: str | None = None) -> None:
        """Asks the supervisor to end this process and everything that it started."""
        await self.call(SHUTDOWN_OWN_TREE, {"reason": reason})

    async def shut_down_all(self, reason: str | None = None) -> None:
        """Asks the supervisor to shut down the whole application. The child needs the permission to do so."""
        await self.call(SHUTDOWN_APPLICATION, {"reason": reason})

    def close(self) -> None:
        """Ends the connection. If the supervisor expects heartbeats, the process should end soon afterwards."""
        self._channel.close("closed")

    async def _say_hello(self, token: str | None, name: str, version: str, timeout: float) -> None:
        self._channel.start()
        deadline = self._loop.time() + timeout
        if token is None:
            done, _ = await asyncio.wait({self._welcome}, timeout=timeout)
            if not done:
                raise RequestTimedOut("the supervisor did not greet in time")
            token = self._welcome.result()
        else:
            self._welcome.set_result(token)
        method, params = hello(token, name, version)
        left = max(0.0, deadline - self._loop.time())
        self.granted = granted(await self.call(method, params, timeout=left))
        self._channel.respect(self.granted.limits)
        pause = heartbeat_pause(self.granted)
        if pause is not None:
            self._go_on_beating(pause)

    def _go_on_beating(self, pause: float) -> None:
        if not self.closed:
            with contextlib.suppress(ControlLost):
                self.heartbeat()
            self._beat = self._loop.call_later(pause, self._go_on_beating, pause)

    # Messages from the supervisor.

    def _take(self, message: Request | Notification | ProtocolError) -> None:
        if not self._welcome.done():
            try:
                self._welcome.set_result(greeting(message))
            except ControlLost as e:
                self._welcome.set_exception(e)
        elif not isinstance(message, ProtocolError):
            task = self._loop.create_task(self._serve(message))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _ended(self, reason: str) -> None:
        if self._beat is not None:
            self._beat.cancel()
        if not self._welcome.done():
            self._welcome.set_exception(ControlLost(f"the control connection has ended: {reason}"))
            self._welcome.exception()

    async def _serve(self, message: Request | Notification) -> None:
        try:
            method = method_for(message, self._methods)
            if method is None:
                self._answer(message, ACKNOWLEDGED)
                result = self._on_shutdown(reason_of(message.params))
            else:
                result = method(message.params)
            if inspect.isawaitable(result):
                result = await result
            if method is not None:
                self._answer(message, result)
        except Exception as e:
            if isinstance(message, Request) and not self.closed:
                self._channel.fail(message.id, error_object(e))
            if not isinstance(e, RequestFailed | ControlLost):
                raise

    def _answer(self, message: Request | Notification, result: object) -> None:
        if isinstance(message, Request) and not self.closed:
            self._channel.answer(message.id, result)
