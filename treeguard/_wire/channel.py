"""A JSON-RPC session on one end of a connection and an event loop.

It reads in small turns, so that a busy side does not keep others waiting. It writes as much as the other side accepts,
and closes the connection if the other side accepts too little.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from .._core.forks import call_in_copies, leave_copies_alone
from .._transport import Transport
from .._transport.credentials import Sender
from .._transport.share import Share
from ..errors import SHORTAGES, ControlLost, RequestTimedOut
from .jsonrpc import ErrorObject, Id, Notification, ProtocolError, Request, Response, Session
from .message_limits import ControlLimits
from .protocol import raised

__all__ = ["Channel", "Party"]

#: Messages that are served in one turn, and seconds after which a turn begins no further message.
_TURN = 32
_WHILE = 0.005
#: Seconds spent on reading and serving before the other side is judged by what has arrived.
_DRAINED = 0.02
#: Minimum seconds of rest after a side has used up its share. ``_PAUSE`` is the rest after a shortage of resources.
_REST = 0.02
#: The cost in seconds of waking up the loop and making the call, which cannot be measured from inside the call.
_WAKE = 20e-6
_PAUSE = 0.1


class Party(Protocol):
    """The user of a channel. Each of these methods may call the channel back, and must not raise."""

    def take(self, message: Request | Notification | ProtocolError) -> None:
        """Takes a message from the other side. A faulty message has already been answered."""

    def ended(self, reason: str, *, cut_off: bool) -> None:
        """Called once, when the channel has been closed. ``cut_off``: the other side did not keep to its limits."""


class Channel:
    """One side of a connection. It owns its transport, which is on the running loop."""

    def __init__(self, transport: Transport, limits: ControlLimits, party: Party) -> None:
        self._transport = transport
        self._session = Session(limits)
        self._party = party
        self._loop = asyncio.get_running_loop()
        self._answers: dict[int, asyncio.Future[Response]] = {}
        self._reading = self._writing = self._held = self._scheduled = False
        self._finished = self._working = self._charging = False
        self._resting: asyncio.TimerHandle | None = None
        #: None means that the other side is trusted.
        self._share: Share | None = None
        self._worked = self._wasted = 0
        self.closed = False
        # An open copy of an end would keep the other side from seeing it close.
        call_in_copies(self.abandon)

    def be_wary(self, share: Share) -> None:
        """Treats the other side as untrusted. Call this before anything else.

        Input other than bytes is refused. Input that is not work (blank lines, pieces of lines, and messages for which
        :meth:`waste` was called) is charged to the other side's share of the processor. When the share is used up, the
        channel does not read for a while.
        """
        self._transport.be_wary()
        self._share = share

    def waste(self) -> None:
        """Marks the message being served as something other than the work that this connection is for."""
        self._wasted += 1

    def start(self, vet: Callable[[Sender], bool] | None = None) -> None:
        """Begins to read. Until :meth:`trust`, calls ``vet`` with the sender of what arrives. It may close the channel.

        It is not called on systems that do not report the sender.
        """
        self._transport.vet = vet
        self._read_on()

    def trust(self) -> None:
        """Stops checking senders."""
        self._transport.vet = None

    def respect(self, limits: ControlLimits) -> None:
        """See :meth:`Session.respect`."""
        self._session.respect(limits)

    def pause(self) -> None:
        """Stops reading and serving until :meth:`resume`."""
        self._held = True
        self._stop_reading()

    def resume(self) -> None:
        """Resumes after :meth:`pause`."""
        self._held = False
        if not self.closed:
            self._read_on()
            self._schedule()

    def tell(self, method: str, params: object = None) -> None:
        """Sends a notification. Raises as :meth:`Session.notify` does."""
        self._session.notify(method, params)
        self._flush()

    async def ask(self, method: str, params: object = None, timeout: float | None = None) -> object:
        """Sends a request and waits for its answer, for at most ``timeout`` seconds.

        Raises the errors of :meth:`tell`, :class:`~treeguard.errors.RequestTimedOut`, and the error in the answer.
        """
        key = self._session.request(method, params)
        future: asyncio.Future[Response] = self._loop.create_future()
        # The entry stays after a timeout, since the answer is still expected.
        self._answers[key] = future
        self._flush()
        done, _ = await asyncio.wait({future}, timeout=timeout)
        if not done:
            raise RequestTimedOut(f"{method} was not answered within {timeout:g} s")
        response = future.result()
        if response.error is not None:
            raise raised(response.error)
        return response.result

    def answer(self, key: Id, result: object) -> None:
        """Answers a request. Raises TypeError or ValueError for a result that cannot be sent."""
        self._session.answer(key, result)
        self._flush()

    def fail(self, key: Id, error: ErrorObject) -> None:
        """Answers a request with an error."""
        self._session.fail(key, error)
        self._flush()

    def drain(self) -> bool:
        """Serves what has arrived, even if it is much. Returns whether everything was read."""
        if self._working:  # The call comes from a message that is being served.
            return False
        until = time.monotonic() + _DRAINED
        while not (self.closed or self._held or self._resting) and time.monotonic() < until:
            with self._charged():
                self._work(_TURN)
                if not self._session.backlog and not self._receive():
                    # Either nothing was there, or it could not be read now.
                    return self._resting is None
        return self.closed

    def close(self, reason: str) -> None:
        """Sends what can be sent at once, and closes the transport. Calls that wait for an answer get an error."""
        if self.closed:
            return
        cut_off = self._session.ended is not None
        reason = self._session.ended or reason
        self._session.end(reason)
        self._stop_reading()
        self._stop_resting()
        if not self._loop.is_closed():
            self._send()
        self.closed = True
        if self._writing:
            self._transport.watch_writing(None)
        self._transport.close()
        leave_copies_alone(self)
        answers, self._answers = self._answers, {}
        for future in answers.values():
            if not (future.done() or self._loop.is_closed()):
                future.set_exception(ControlLost(f"the control connection has ended: {reason}"))
                future.exception()  # The caller may no longer wait.
        self._party.ended(reason, cut_off=cut_off)

    def abandon(self) -> None:
        """Closes only this process's end. A forked copy does not own the connection."""
        self._transport.forget()
        leave_copies_alone(self)

    # Reading.

    def _read_on(self) -> None:
        if not (self._reading or self._held or self.closed or self._finished or self._resting):
            self._transport.watch_reading(self._readable)
            self._reading = True

    def _stop_reading(self) -> None:
        if self._reading:
            self._transport.watch_reading(None)
        self._reading = False

    def _rest(self, seconds: float) -> None:
        """Pauses reading and serving for this many seconds. Data that has arrived or arrives meanwhile waits."""
        if self._resting is None and not self.closed:
            self._stop_reading()
            self._resting = self._loop.call_later(seconds, self._rested)

    def _rested(self) -> None:
        self._resting = None
        try:
            self._read_on()
        except (OSError, RuntimeError):  # The loop cannot watch another descriptor, or no thread is available.
            self._rest(_PAUSE)
        else:
            self._schedule()

    def _stop_resting(self) -> None:
        if self._resting is not None and not self._loop.is_closed():
            self._resting.cancel()
        self._resting = None

    def _readable(self) -> None:
        with self._charged():
            if not self._session.backlog:
                self._receive()
            self._turn()

    def _turn(self) -> None:
        self._scheduled = False
        if self.closed or self._resting:
            return
        with self._charged():
            more = self._work(_TURN)
        if more and not self._resting:
            self._schedule()

    @contextlib.contextmanager
    def _charged(self) -> Iterator[None]:
        """Charges what is done inside to the other side, except for the part that was work."""
        if self._share is None or self._charging:
            yield
            return
        self._charging = True
        self._worked = self._wasted = 0
        began = time.thread_time()
        try:
            yield
        finally:
            self._charging = False
            spent = _WAKE + time.thread_time() - began
            self._share.charge(spent * max(0.0, 1 - (self._worked - self._wasted) / max(1, self._worked)))
            wait = self._share.wait()
            if wait:
                self._rest(max(wait, _REST))

    def _schedule(self) -> None:
        if not (self._scheduled or self._resting):
            self._scheduled = True
            self._loop.call_soon(self._turn)

    def _receive(self) -> int:
        """Returns how many bytes arrived."""
        if self._finished or self.closed:
            return 0
        try:
            data = self._transport.read()
        except OSError as e:
            if e.errno in SHORTAGES:
                self._rest(_PAUSE)
            else:
                self.close(f"it cannot be read: {e.strerror}")
            return 0
        if data is None:
            return 0
        if not data:
            self._finished = True
            self._stop_reading()
            self._schedule()
        self._session.receive_data(data)
        return len(data)

    def _work(self, turn: int) -> bool:
        """Serves the messages of one turn. Returns whether more are waiting."""
        if self._working:
            return True
        self._working = True
        until = time.monotonic() + _WHILE
        try:
            for _ in range(turn):
                if self._held or self.closed:
                    return False
                message = self._session.next_event()
                if message is None:
                    break
                self._worked += 1
                self._serve(message)
                if time.monotonic() > until:
                    break
        finally:
            self._working = False
        self._flush()
        if self._finished and not self.closed and not self._session.backlog:
            self.close("the other side closed it")
        return not self.closed and self._session.backlog

    def _serve(self, message: Request | Notification | Response | ProtocolError) -> None:
        if isinstance(message, Response):
            future = self._answers.pop(message.id, None)
            if future is not None and not future.done():
                future.set_result(message)
        else:
            if isinstance(message, ProtocolError):
                self.waste()
            self._party.take(message)

    # Writing.

    def _flush(self) -> None:
        if self.closed or self._working:  # The output of a turn is sent at its end.
            return
        if not self._writing:
            self._send()
        if self._session.ended is not None:
            self.close(self._session.ended)
        elif self._session.output and not self._writing:
            self._writing = True
            self._transport.watch_writing(self._writable)

    def _writable(self) -> None:
        self._send()
        if not self._session.output and self._writing:
            self._writing = False
            self._transport.watch_writing(None)

    def _send(self) -> None:
        try:
            while self._session.output:
                sent = self._transport.write(self._session.output)
                if not sent:
                    return
                self._session.sent(sent)
        except OSError as e:
            self._session.output.clear()
            # Do not close here: data that arrived earlier must still be read, and states the reason.
            self._loop.call_soon(functools.partial(self._lost, e.strerror or "?"))

    def _lost(self, problem: str) -> None:
        self.drain()
        self.close(f"it cannot be written to: {problem}")
