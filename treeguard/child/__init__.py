"""The child's side of the control connection, for programs without an event loop. With one: :mod:`treeguard.child.aio`.

Three lines connect a program to its supervisor::

    from treeguard.child import connect
    with connect(on_shutdown=lambda reason: stop.set()) as control:
        stop.wait()

The module is light to import, and imports nothing from the supervisor's side.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from .._core.forks import call_in_copies
from .._core.validation import optional_seconds, plain_function
from .._transport import Line, line_on
from .._wire.jsonrpc import (
    ErrorObject,
    Notification,
    ProtocolError,
    Request,
    Response,
    Session,
)
from .._wire.message_limits import ControlLimits
from .._wire.protocol import HEARTBEAT, SHUTDOWN_APPLICATION, SHUTDOWN_OWN_TREE, Granted, error_object, raised
from ..errors import ControlLost, RequestTimedOut, TreeguardError
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

#: A method that the supervisor may call. It takes the parameters and returns the result, in a thread of its own.
Method = Callable[[Any], object]
#: Called in a thread of its own with the reason for the shutdown, after the request has been acknowledged.
OnShutdown = Callable[[str | None], object]


def connect(
    *,
    on_shutdown: OnShutdown | None = None,
    methods: Mapping[str, Method] | None = None,
    name: str = "",
    version: str = "",
    timeout: float = 30.0,
) -> Control:
    """Takes this process's control connection, says hello, and starts a thread that serves the connection.

    The thread sends heartbeats if the supervisor expects them. They show that the process runs, not that its main
    thread does. ``on_shutdown`` is called to end the process; without it, the process sends itself SIGTERM. ``methods``
    are the methods that the supervisor may call. A method named ``process.shutdown`` also replaces the default answer
    to that request.

    Raises :class:`~treeguard.errors.ControlLost` if there is no connection, :class:`~treeguard.CapabilityDenied` if it
    is refused, and :class:`~treeguard.errors.RequestTimedOut`.
    """
    known = checked_methods(methods, on_shutdown=on_shutdown, name=name, version=version, timeout=timeout)
    # treeguard.child.aio takes coroutine functions.
    plain_function("on_shutdown", on_shutdown, optional=True)
    for key, method in known.items():
        plain_function(f"methods[{key!r}]", method)
    end, token = find()
    return Control(
        line_on(end),
        token,
        on_shutdown or end_by_signal,
        known,
        name=name,
        version=version,
        timeout=timeout,
    )


class _Answer:
    __slots__ = ("arrived", "response")

    def __init__(self) -> None:
        self.arrived = threading.Event()
        self.response: Response | None = None


class Control:
    """A control connection that a thread serves. :func:`connect` creates it. Any thread may use it."""

    def __init__(
        self,
        line: Line,
        token: str | None,
        on_shutdown: OnShutdown,
        methods: dict[str, Method],
        *,
        name: str,
        version: str,
        timeout: float,
    ) -> None:
        self._line = line
        self._session = Session(ControlLimits())
        self._lock = threading.RLock()
        self._answers: dict[int, _Answer] = {}
        self._on_shutdown = on_shutdown
        self._methods = methods
        self._token = token
        self._thread = threading.Thread(target=self._run, name="treeguard-control", daemon=True)
        self._beaten = time.monotonic()
        try:
            self.granted: Granted = self._say_hello(name, version, time.monotonic() + timeout)
        except BaseException:
            self._end("hello failed")
            line.close()
            raise
        self._session.respect(self.granted.limits)
        call_in_copies(self._abandon)
        self._thread.start()

    @property
    def closed(self) -> bool:
        """Whether the connection has ended."""
        return self._session.ended is not None

    def call(self, method: str, params: object = None, *, timeout: float | None = None) -> Any:
        """Calls a service of the supervisor, such as ``"storage.get"``, and returns its answer.

        Raises :class:`~treeguard.CapabilityDenied`, :class:`~treeguard.errors.QuotaExceeded` with ``retry_after``,
        :class:`~treeguard.errors.RequestFailed`, :class:`~treeguard.errors.RequestTimedOut`, and
        :class:`~treeguard.errors.ControlLost`.
        """
        optional_seconds("timeout", timeout)
        answer = self._asked(method, params)
        if not answer.arrived.wait(None if timeout is None else min(timeout, threading.TIMEOUT_MAX)):
            raise RequestTimedOut(f"{method} was not answered within {timeout:g} s")
        return self._result(answer)

    def tell(self, method: str, params: object = None) -> None:
        """Sends a notification to a service, which gets no answer."""
        with self._lock:
            self._session.notify(method, params)
            self._flush()

    def heartbeat(self) -> None:
        """Sends a heartbeat. The thread also does so on its own."""
        self._beaten = time.monotonic()
        self.tell(HEARTBEAT)

    def shut_down_own_tree(self, reason: str | None = None) -> None:
        """Asks the supervisor to end this process and everything that it started."""
        self.call(SHUTDOWN_OWN_TREE, {"reason": reason})

    def shut_down_all(self, reason: str | None = None) -> None:
        """Asks the supervisor to shut down the whole application. The child needs the permission to do so."""
        self.call(SHUTDOWN_APPLICATION, {"reason": reason})

    def close(self) -> None:
        """Ends the connection. If the supervisor expects heartbeats, the process should end soon afterwards."""
        self._end("closed")
        with contextlib.suppress(OSError):
            self._line.hang_up()  # wakes the thread
        if self._thread is not threading.current_thread():
            self._thread.join()

    def __enter__(self) -> Control:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _say_hello(self, name: str, version: str, deadline: float) -> Granted:
        while self._token is None:
            self._wait(deadline)
        method, params = hello(self._token, name, version)
        answer = self._asked(method, params)
        while not answer.arrived.is_set():
            self._wait(deadline)
        return granted(self._result(answer))

    def _wait(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise RequestTimedOut("the supervisor did not greet in time")
        if self._line.wait(left):
            self._receive()
        self._check_open()

    # Run by the thread.

    def _run(self) -> None:
        pause = heartbeat_pause(self.granted)
        try:
            while not self.closed:
                if pause is not None and time.monotonic() >= self._beaten + pause:
                    self.heartbeat()
                if self._line.wait(None if pause is None else max(0.0, self._beaten + pause - time.monotonic())):
                    self._receive()
        except (OSError, ControlLost) as e:
            self._end(str(e))
        finally:
            self._line.close()

    def _receive(self) -> None:
        data = self._line.read()
        if data is None:
            return
        if not data:
            self._end("the supervisor closed it")
            return
        with self._lock:
            self._session.receive_data(data)
        while True:
            with self._lock:
                message = self._session.next_event()
                self._flush()
            if message is None:
                return
            self._take(message)

    def _take(self, message: Request | Notification | Response | ProtocolError) -> None:
        if isinstance(message, Response):
            with self._lock:
                answer = self._answers.pop(message.id, None)
            if answer is not None:
                answer.response = message
                answer.arrived.set()
        elif self._token is None:
            self._token = greeting(message)
        elif not isinstance(message, ProtocolError):
            threading.Thread(target=self._serve, args=(message,), name=message.method, daemon=True).start()

    def _serve(self, message: Request | Notification) -> None:
        """Serves one message, in a thread of its own."""
        try:
            method = method_for(message, self._methods)
            if method is None:
                self._answer(message, ACKNOWLEDGED)
                self._on_shutdown(reason_of(message.params))
            else:
                self._answer(message, method(message.params))
        except ControlLost:
            pass
        except Exception as e:
            self._fail(message, error_object(e))
            if not isinstance(e, TreeguardError):
                raise

    def _answer(self, message: Request | Notification, result: object) -> None:
        if isinstance(message, Request):
            with self._lock:
                self._session.answer(message.id, result)
                self._flush()

    def _fail(self, message: Request | Notification, error: ErrorObject) -> None:
        if isinstance(message, Request):
            with self._lock:
                self._session.fail(message.id, error)
                self._flush()

    # Run by any thread.

    def _asked(self, method: str, params: object) -> _Answer:
        with self._lock:
            key = self._session.request(method, params)
            answer = self._answers[key] = _Answer()
            self._flush()
        return answer

    def _result(self, answer: _Answer) -> Any:
        if answer.response is None:
            self._check_open()
            raise ControlLost("the control connection has ended")
        if answer.response.error is not None:
            raise raised(answer.response.error)
        return answer.response.result

    def _check_open(self) -> None:
        if self._session.ended is not None:
            raise ControlLost(f"the control connection has ended: {self._session.ended}")

    def _flush(self) -> None:
        """Sends the output. The caller must hold the lock, so that messages are not mixed up."""
        try:
            while self._session.output:
                self._session.sent(self._line.write(self._session.output))
        except OSError as e:
            self._session.output.clear()
            # Earlier messages from the supervisor must still be read.
            if not isinstance(e, BrokenPipeError | ConnectionResetError):
                self._end(str(e))

    def _end(self, reason: str) -> None:
        with self._lock:
            self._session.end(reason)
            answers, self._answers = self._answers, {}
        for answer in answers.values():
            answer.arrived.set()

    def _abandon(self) -> None:
        """Closes the connection in a forked copy of the process, which does not own it."""
        self._lock = threading.RLock()
        self._session.end("this is a forked copy of the process that has it")
        self._line.close()
