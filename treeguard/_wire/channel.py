"""A JSON-RPC session on one end of a connection and an event loop.

Reads in small turns, so that one who sends much does not keep others waiting; writes as much as the other side takes,
and gives it up when it takes too little.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Protocol

from .._transport import Transport
from .._transport.credentials import Sender
from .._transport.share import Share
from ..errors import SHORTAGES, ControlLost, RequestTimedOut
from .jsonrpc import ControlLimits, ErrorObject, Id, Notification, ProtocolError, Request, Response, Session
from .protocol import raised

__all__ = ["Channel", "Party"]

#: Messages of one side that are served before everybody else has a turn, and seconds after which no more is begun.
_TURN = 32
_WHILE = 0.005
#: Seconds that are read and served in one go when somebody is about to be judged by what has arrived.
_DRAINED = 0.02
#: Seconds that a side rests at least that has used up its share, and one for which something was short.
_REST = 0.02
#: What it costs the loop to wake up and call, which cannot be measured from in here.
_WAKE = 20e-6
_PAUSE = 0.1


class Party(Protocol):
    """Whoever a channel is for. May call it back in any of these; may not raise."""

    def take(self, message: Request | Notification | ProtocolError) -> None:
        """A message of the other side. A fault has been answered."""

    def ended(self, reason: str, *, cut_off: bool) -> None:
        """The channel has been closed. Comes once. ``cut_off``: because the other side did not keep to its limits."""


class Channel:
    """One side of a connection. Owns its transport, which is on the running loop."""

    def __init__(self, transport: Transport, limits: ControlLimits, party: Party) -> None:
        self._transport = transport
        self._session = Session(limits)
        self._party = party
        self._loop = asyncio.get_running_loop()
        self._answers: dict[int, asyncio.Future[Response]] = {}
        self._reading = self._writing = self._held = self._scheduled = False
        self._finished = self._working = self._charging = False
        self._resting: asyncio.TimerHandle | None = None
        #: None: the other side is trusted.
        self._share: Share | None = None
        self._worked = self._wasted = 0
        self.closed = False
        _channels.add(self)

    def be_wary(self, share: Share) -> None:
        """The other side is not trusted. To be called first.

        What it sends beside bytes is refused. What it sends that is no work (blank lines, pieces of lines, and whatever
        was called :meth:`waste`) is charged to its share of the processor; when that is used up it is not read for a
        while.
        """
        self._transport.be_wary()
        self._share = share

    def waste(self) -> None:
        """The message that is being served was none of the work that this connection is for."""
        self._wasted += 1

    def start(self, vet: Callable[[Sender], bool] | None = None) -> None:
        """Begins to read. ``vet`` is asked about who sent what arrives, until :meth:`trust`; to close is up to it.

        Where the system does not tell who sent, it is not asked.
        """
        self._transport.vet = vet
        self._read_on()

    def trust(self) -> None:
        """Who sends is not asked any more."""
        self._transport.vet = None

    def respect(self, limits: ControlLimits) -> None:
        """See :meth:`Session.respect`."""
        self._session.respect(limits)

    def hold(self) -> None:
        """Reads and serves nothing until :meth:`go_on`."""
        self._held = True
        self._stop_reading()

    def go_on(self) -> None:
        """After :meth:`hold`."""
        self._held = False
        if not self.closed:
            self._read_on()
            self._schedule()

    def tell(self, method: str, params: object = None) -> None:
        """Sends a notification. Raises as :meth:`Session.tell` does."""
        self._session.tell(method, params)
        self._flush()

    async def ask(self, method: str, params: object = None, timeout: float | None = None) -> object:
        """Sends a request and waits for its answer, ``timeout`` seconds at most.

        Raises what :meth:`tell` does, :class:`~treeguard.errors.RequestTimedOut`, and the error that was answered.
        """
        key = self._session.ask(method, params)
        future: asyncio.Future[Response] = self._loop.create_future()
        # The answer to a request that nobody waits for any more is still expected.
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
        """Serves what has arrived, also if it is much. Whether that was all."""
        if self._working:  # Whoever is being served asks for it.
            return False
        until = time.monotonic() + _DRAINED
        while not (self.closed or self._held or self._resting) and time.monotonic() < until:
            with self._charged():
                self._work(_TURN)
                if not self._session.backlog and not self._receive():
                    # Nothing was there; or it could not be read now.
                    return self._resting is None
        return self.closed

    def close(self, reason: str) -> None:
        """Sends what can be sent at once, and closes the transport. Who waits for an answer gets an error."""
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
        _channels.discard(self)
        answers, self._answers = self._answers, {}
        for future in answers.values():
            if not (future.done() or self._loop.is_closed()):
                future.set_exception(ControlLost(f"the control connection has ended: {reason}"))
                future.exception()  # Nobody may be waiting any more.
        self._party.ended(reason, cut_off=cut_off)

    def let_go(self) -> None:
        """Closes this process's end, and nothing else: in a forked copy the connection is not its own."""
        self._transport.forget()
        _channels.discard(self)

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
        """Reads and serves nothing for so long. What has arrived, and what will, waits."""
        if self._resting is None and not self.closed:
            self._stop_reading()
            self._resting = self._loop.call_later(seconds, self._rested)

    def _rested(self) -> None:
        self._resting = None
        try:
            self._read_on()
        except (OSError, RuntimeError):  # Too few descriptors for a loop to watch one more, or no thread.
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
        """What is done in here is charged to the other side, as far as it was no work."""
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
        """How many bytes there were."""
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
        self._session.feed(data)
        return len(data)

    def _work(self, turn: int) -> bool:
        """Serves messages, as many as are a turn's. Whether there are more."""
        if self._working:
            return True
        self._working = True
        until = time.monotonic() + _WHILE
        try:
            for _ in range(turn):
                if self._held or self.closed:
                    return False
                message = self._session.take()
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
        if self.closed or self._working:  # What a turn produces is sent at its end.
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
            # Not closed from in here: what has arrived before is still to be read, and says why.
            self._loop.call_soon(functools.partial(self._lost, e.strerror or "?"))

    def _lost(self, problem: str) -> None:
        self.drain()
        self.close(f"it cannot be written to: {problem}")


_channels: weakref.WeakSet[Channel] = weakref.WeakSet()


def _after_fork() -> None:
    for channel in list(_channels):
        channel.let_go()


# Only ever acts in forked copies, whose open copy of an end would keep the other side from seeing it close.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
