"""An event loop in a thread of its own, which wakes the threads that wait for something, on Windows.

A completion port cannot be waited for together with anything else, such as a pipe or Ctrl-C. So one thread waits for
the port alone. The others wait for an event that it sets, and for what else they have to serve.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import heapq
import itertools
import math
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol, cast

from .._core.engine.engine import Core
from .._core.engine.watch import Watch
from .._core.native_windows import NativePort
from .._core.poll_thread import Pollable
from .._core.telemetry.log import report
from .searching import PumpedSystem as SearchingSystem
from .timer import Timer

# The standard library uses these modules for the same purpose: multiprocessing.connection, asyncio.windows_events.
assert sys.platform == "win32"
import _overlapped  # type: ignore[import-not-found]  # noqa: E402 - Windows only
import _winapi  # noqa: E402 - Windows only

__all__ = ["Event", "Pump", "PumpedSystem", "Traffic"]

#: The longest wait in one call, in seconds, of the loop's thread and of others. Ctrl-C ends a wait of the main thread.
#: Other signals do not: their handlers run after it.
_LONGEST, _FOLLOW = 3600.0, 1.0
#: The pause, in seconds, between looks of a signal handler that has interrupted the work of the loop itself.
_WITHIN = 0.002


class Traffic(Protocol):
    """What a thread serves while it waits. It is the thread's own."""

    def until(self) -> float:
        """When the wait ends because nothing was served for too long; a time of :meth:`Pump.time`."""
        ...

    def events(self) -> list[int] | None:
        """The handles to wait for. None: there is something to serve now."""
        ...

    def serve(self) -> None:
        """Serves what is ready."""
        ...


class Event:
    """An event of the kernel, which a thread can wait for together with others."""

    handle: int = 0

    def __init__(self) -> None:
        self.handle = _overlapped.CreateEvent(None, True, False, None)

    def set(self) -> None:
        """Sets it until it is cleared."""
        _overlapped.SetEvent(self.handle)

    def clear(self) -> None:
        """Clears it."""
        _overlapped.ResetEvent(self.handle)

    def __del__(self) -> None:
        # Not earlier: whoever sets it has a reference, and the number may be another event's after this.
        if self.handle:
            _winapi.CloseHandle(self.handle)


class _Idle:
    """What the loop's thread waits for where there is no port."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def wait(self, timeout: float | None) -> bool:
        told = self._event.wait(timeout)
        self._event.clear()
        return told

    def wake(self) -> None:
        self._event.set()


class _Waiter:
    """A thread that waits until ``done``."""

    __slots__ = ("asked", "bell", "done", "patient_until")

    def __init__(self, done: Callable[[], bool]) -> None:
        self.done = done
        self.bell = Event()
        #: Its question for what has happened by now, and how long it waits for the answer; 0 without one.
        self.asked = 0
        self.patient_until = 0.0


class Pump:
    """The part of an event loop that an engine needs: a port to watch, and timers.

    Whoever calls into the engine holds :attr:`lock`, and so does the loop's thread while it delivers events.
    """

    def __init__(self) -> None:
        #: Guards the engine, and everything here.
        self.lock = threading.RLock()
        #: By time and number. Comparing them runs no code of Python, in which a signal handler could come.
        self._timers: list[tuple[float, int, Timer]] = []
        self._numbers = itertools.count()
        #: Does what something here that was interrupted has left half done; set by its user.
        self.mend: Callable[[], object] = _nothing
        self._waiters: list[_Waiter] = []
        self._port: Pollable = _Idle()
        self._look: Callable[[], None] | None = None
        self._thread: threading.Thread | None = None
        self._waits_until = -math.inf
        #: Whether its thread waits at the port. It begins that with the lock held, and ends it without.
        self._at_port = False
        #: How often somebody has asked for what has happened by then, and how many of these have been answered.
        self._asked = self._answered = 0
        self._closed = False

    # What an engine asks of its loop.

    @property
    def as_loop(self) -> asyncio.AbstractEventLoop:
        """This pump, for an engine: it asks for no more of a loop than there is here."""
        return cast("asyncio.AbstractEventLoop", self)

    def time(self) -> float:
        return time.monotonic()

    def is_closed(self) -> bool:
        return self._closed

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> Timer:
        when = self.time() + delay
        timer = Timer(when, callback, args)
        with self.lock:
            heapq.heappush(self._timers, (when, next(self._numbers), timer))
            self._begin()
            if when < self._waits_until:
                self._port.wake()
        return timer

    def watch(self, port: Pollable, look: Callable[[], None]) -> None:
        """From now on calls ``look`` when there is something at the port. Raises OSError without a thread to be had."""
        self._end()
        with self.lock:
            self._port, self._look = port, look
            self._begin()

    def unwatch(self) -> None:
        """Ends that. Nobody waits for the port then."""
        self._end()
        self._port, self._look = _Idle(), None

    # Its thread.

    def _begin(self) -> None:
        if self._thread is None and not self._closed:
            thread = threading.Thread(target=self._run, name="treeguard-port", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                raise OSError(errno.EAGAIN, "a thread cannot be started") from error
            self._thread = thread

    def _end(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            self._port.wake()
            if thread is not threading.current_thread():
                thread.join()

    def _run(self) -> None:
        # The lock is free once the thread is known, or will never be.
        with self.lock:
            pass
        while self._is_here():
            with self.lock:
                asked = self._asked
                self._waits_until = -math.inf if asked > self._answered else self._next_timer()
                seconds = max(0.0, min(self._waits_until - self.time(), _LONGEST))
                self._at_port = True
            told = self._port.wait(_milliseconds(seconds) / 1000)
            self._at_port = False
            with self.lock:
                self._waits_until = -math.inf
                self._deliver()
                if not told:
                    # Messages come in order, and there is none: all that had happened when they asked is known.
                    self._answered = asked
                self._wake_others()

    def _deliver(self) -> None:
        if self._look is not None:
            _call(self._look)
        self._run_timers()

    def _run_timers(self) -> None:
        now = self.time()
        while True:
            # No signal handler comes between a look at the first one and the use of it.
            if not self._timers or self._timers[0][0] > now:
                break
            first = self._timers[0]
            _call(first[2].run)
            first[2].cancel()
            if self._timers and self._timers[0] is first:
                heapq.heappop(self._timers)

    def _next_timer(self) -> float:
        return self._timers[0][0] if self._timers else math.inf

    def _wake_others(self) -> None:
        for each in self._waiters:
            if 0 < each.asked <= self._answered or each.done():
                each.bell.set()

    # Waiting.

    def wait(self, done: Callable[[], bool], until: float | None = None, traffic: Traffic | None = None) -> bool:
        """Waits until ``done`` is true, or until a time of :meth:`time`. Returns whether it is.

        ``done`` is called with the lock held, perhaps by another thread. ``traffic`` is served meanwhile.
        """
        waiter: _Waiter | None = None
        # Called by a signal handler or a destructor in the middle of this thread's work here: the loop's thread gets no
        # lock meanwhile, or it is this one.
        within = self.lock._is_owned() or self._is_here()  # type: ignore[attr-defined]
        try:
            pause = _WITHIN if within else _FOLLOW
            if within:
                _call(self.mend)
            while True:
                with self.lock:
                    if done():
                        return True
                    if waiter is None:
                        waiter = _Waiter(done)
                        self._waiters.append(waiter)
                    left = self._left(waiter, until, traffic, pause)
                    if left <= 0:
                        return False
                if within:
                    self._deliver_here()
                events = [] if traffic is None else traffic.events()
                if events is not None:
                    _follow(waiter.bell, events, min(left, pause))
                if traffic is not None:
                    traffic.serve()
        finally:
            with self.lock:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)

    def _is_here(self) -> bool:
        return self._thread is threading.current_thread()

    def _deliver_here(self) -> None:
        """Does the work of its thread, which stands still. Only one thread at a time may wait at the port."""
        with self.lock:
            if not self._at_port or self._is_here():
                self._port.wait(0.0)
            self._deliver()

    def _left(self, waiter: _Waiter, until: float | None, traffic: Traffic | None, pause: float) -> float:
        """How long a waiter still waits, in seconds. The lock is held.

        One whose time is over waits for what has happened by now: its end may be at the port already.
        """
        last = math.inf if until is None else until
        if traffic is not None:
            last = min(last, traffic.until())
        now = self.time()
        if last > now:
            waiter.asked = 0
            return last - now
        if not waiter.asked:
            self._begin()
            self._asked += 1
            waiter.asked, waiter.patient_until = self._asked, now + pause
            self._port.wake()
        answered = waiter.asked <= self._answered or self._thread is None
        return 0.0 if answered else waiter.patient_until - now

    def mind(self) -> None:
        """Its thread watches the trees in any case."""

    def close(self) -> None:
        """Ends its thread."""
        self._closed = True
        self._end()

    def forked(self) -> None:
        """Windows has no forked copies."""


class _Port(NativePort, Watch):
    """A completion port that a pump waits for."""

    def __init__(self, pump: Pump) -> None:
        super().__init__()
        self._pump = pump

    def begin(self, loop: asyncio.AbstractEventLoop, process_events: Callable[[], None]) -> None:
        self._pump.watch(self, process_events)

    def end(self) -> None:
        self._pump.unwatch()

    def pause(self, seconds: float) -> None:
        self.wait(seconds)


class PumpedSystem(SearchingSystem):
    """The system, whose trees a pump hears of."""

    def open_core(self) -> Core:
        """See :meth:`System.open_core`."""
        return _Port(self._pump)


def _nothing() -> None:
    pass


def _follow(bell: Event, others: list[int], seconds: float) -> None:
    """Waits until one of the events is set."""
    # In the main thread Ctrl-C ends this wait. Its handler runs before the next line.
    with contextlib.suppress(InterruptedError):
        _winapi.WaitForMultipleObjects([bell.handle, *others], False, _milliseconds(seconds))
    bell.clear()


def _milliseconds(seconds: float) -> int:
    return math.ceil(min(seconds, _LONGEST) * 1000)


def _call(call: Callable[[], object]) -> None:
    """An error is reported where those of a loop's callbacks are."""
    try:
        call()
    except Exception as error:
        report("a callback raised", error)
