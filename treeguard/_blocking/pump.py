"""An event loop without a thread of its own: the threads that wait for something run it in turns."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import math
import select
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, cast

from .._core.handlers import of_handler
from .._core.telemetry.log import report
from ..errors import NotOwner
from .minder import Minder
from .timer import Timer
from .waker import Waker

__all__ = ["Pump", "Traffic"]

#: The longest wait in one call of poll(2), whose milliseconds are an int.
_LONGEST = 3600.0
#: How often a waiting thread looks whether another one still runs the loop, in seconds.
_FOLLOW = 1.0


class Traffic:
    """Descriptors that a thread serves while it waits. It is the thread's own; only :meth:`ring` is for others."""

    def __init__(self) -> None:
        #: What is polled.
        self.poller = select.poll()
        self._waker: Waker | None = None

    def until(self) -> float:
        """When the wait ends because nothing was served for too long; a time of :meth:`Pump.time`."""
        return math.inf

    def serve(self, fd: int, events: int) -> None:
        """Serves a descriptor that is ready."""
        raise NotImplementedError

    def follow(self) -> None:
        """Another thread runs the loop, and will ring."""
        if self._waker is None:
            self._waker = Waker()
            self.poller.register(self._waker.fileno(), select.POLLIN)

    def ring(self) -> None:
        """Ends the poll."""
        if self._waker is not None:
            self._waker.wake()

    def take(self, ready: Iterable[tuple[int, int]]) -> None:
        """Serves those that are ready."""
        for fd, events in ready:
            if self._waker is not None and fd == self._waker.fileno():
                self._waker.clear()
            else:
                self.serve(fd, events)

    def close(self) -> None:
        """Closes what it has opened itself."""
        if self._waker is not None:
            self._waker.close()


class _Waiter:
    """A thread that waits until ``done``. While another thread runs the loop, it waits for the bell, or its traffic."""

    __slots__ = ("__weakref__", "_bell", "before", "done", "thread", "traffic")

    def __init__(self, done: Callable[[], bool], traffic: Traffic | None) -> None:
        self.done = done
        self.traffic = traffic
        self.thread = threading.get_ident()
        self._bell: threading.Lock | None = None
        #: Whose turn it took over, and gives back.
        self.before: weakref.ref[_Waiter] | None = None

    def prepare(self) -> None:
        """Comes before others may ring."""
        if self.traffic is not None:
            self.traffic.follow()
        elif self._bell is None:
            bell = threading.Lock()
            bell.acquire()
            self._bell = bell

    def ring(self) -> None:
        if self.traffic is not None:
            self.traffic.ring()
        elif self._bell is not None and self._bell.locked():
            with contextlib.suppress(RuntimeError):  # its thread has left at this moment
                self._bell.release()

    def follow(self, seconds: float) -> None:
        """Waits for the bell."""
        if self.traffic is not None:
            self.traffic.take(self.traffic.poller.poll(_milliseconds(seconds)))
        elif self._bell is not None and seconds > 0:
            self._bell.acquire(timeout=seconds)


class Pump:
    """The part of an event loop that an engine needs: readers and timers.

    One thread at a time runs it, out of those in :meth:`wait`: no thread has to be woken for another one's sake where
    there is only one. So a short life costs no switch between threads. Whoever calls into the
    engine holds :attr:`lock`.

    A signal handler may raise anywhere in the main thread. So a turn is given up in a ``finally``, and a thread that
    leaves wakes the next one.

    A signal handler may also wait itself, anywhere, and so may a destructor, in any thread. While it does, what it has
    interrupted stands still, perhaps with the lock held. So it takes the turn over from that, and what is half done
    stays in sight, to be done again: a timer until it has run, an event until it is delivered.
    """

    def __init__(self) -> None:
        #: Guards the engine, and everything here.
        self.lock = threading.RLock()
        self._readers: dict[int, Callable[[], object]] = {}
        #: By time and number. Comparing them runs no code of Python, in which a signal handler could come.
        self._timers: list[tuple[float, int, Timer]] = []
        self._numbers = itertools.count()
        #: Does what something here that was interrupted has left half done; set by its user.
        self.mend: Callable[[], object] = _nothing
        #: Whether a call out of here is under way, or has been interrupted.
        self._half_done = False
        #: Who runs the loop now.
        self._running: weakref.ref[_Waiter] | None = None
        self._polls_until = -math.inf
        self._waiters: list[_Waiter] = []
        #: Why it is closed; empty if it is not.
        self._closed = ""
        self._waker = Waker()
        self._minder: Minder | None = None
        self._poller = self._made_poller()

    def _made_poller(self) -> select.poll:
        poller = select.poll()
        for fd in (self._waker.fileno(), *self._readers):
            poller.register(fd, select.POLLIN)
        return poller

    # What an engine asks of its loop.

    @property
    def as_loop(self) -> asyncio.AbstractEventLoop:
        """This pump, for an engine: it asks for no more of a loop than there is here."""
        return cast("asyncio.AbstractEventLoop", self)

    def time(self) -> float:
        return time.monotonic()

    def is_closed(self) -> bool:
        return self._closed != ""

    def add_reader(self, fd: int, callback: Callable[..., object], *args: Any) -> None:
        self._readers[fd] = partial(callback, *args)
        self._poller.register(fd, select.POLLIN)

    def remove_reader(self, fd: int) -> bool:
        if self._readers.pop(fd, None) is None:
            return False
        self._poller.unregister(fd)
        return True

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> Timer:
        when = self.time() + delay
        timer = Timer(when, callback, args)
        with self.lock:
            heapq.heappush(self._timers, (when, next(self._numbers), timer))
            if when < self._polls_until:
                self._waker.wake()
            elif self._minder is not None and not self.runs:
                self._minder.note(when)
        return timer

    # Running it.

    def wait(  # noqa: PLR0912 - one loop
        self, done: Callable[[], bool], until: float | None = None, traffic: Traffic | None = None
    ) -> bool:
        """Waits until ``done`` is true, or until a time of :meth:`time`. Returns whether it is.

        ``done`` is called with the lock held, perhaps by another thread. ``traffic`` is served meanwhile. Raises
        :class:`~treeguard.NotOwner` once it is closed.
        """
        waiter = _Waiter(done, traffic)
        looked = False
        # Called by a signal handler in the middle of this thread's work here: no other thread gets the lock meanwhile.
        within = self.lock._is_owned()  # type: ignore[attr-defined]
        try:
            if within:
                self._call(self.mend)
            while True:
                with self.lock:
                    if self._closed:
                        # By a signal handler that came in here, and forked or ended the process; or by another thread.
                        raise NotOwner(self._closed)
                    now = time.monotonic()
                    if self._half_done or (self._timers and self._timers[0][0] <= now):
                        self._catch_up(within)
                    if done():
                        return True
                    last = math.inf if until is None else until
                    if traffic is not None:
                        last = min(last, traffic.until())
                    left = last - now
                    if left <= 0:
                        if looked:
                            return False
                        left, looked = 0.0, True
                    mine = self._take_turn(waiter, within)
                    if mine:
                        left = max(0.0, min(left, self._next_timer() - now))
                        self._polls_until = now + left
                if mine:
                    self._poll(waiter, left)
                else:
                    waiter.follow(min(left, _FOLLOW))
                    if not left:
                        self.look()
        finally:
            # An exception of a signal handler may come in here too. The turn of a waiter that is gone is nobody's.
            self._leave(waiter)

    def _catch_up(self, within: bool) -> None:
        if self._half_done and not within:
            # An exception of a signal handler has ended the call that was under way.
            self._half_done = False
            self._call(self.mend)
        self._run_timers()

    def _take_turn(self, waiter: _Waiter, within: bool) -> bool:
        """Whether it is this thread that runs the loop. The lock is held."""
        current = None if self._running is None else self._running()
        if current is waiter:
            return True
        if current is not None and current.thread != waiter.thread and not within:
            if waiter not in self._waiters:
                waiter.prepare()
                self._waiters.append(waiter)
            return False
        if current is not None:
            # A signal handler waits within the wait of its thread, whose poll object is in use, or in its place.
            self._poller = self._made_poller()
            waiter.before = self._running
        if waiter in self._waiters:
            self._waiters.remove(waiter)
        self._running = weakref.ref(waiter)
        if waiter.traffic is not None:
            for fd in (self._waker.fileno(), *self._readers):
                waiter.traffic.poller.register(fd, select.POLLIN)
        return True

    def _leave(self, waiter: _Waiter) -> None:
        with self.lock:
            if self._running is not None and self._running() in (waiter, None):
                self._running = waiter.before
                self._polls_until = -math.inf
                if self.runs:
                    # It polls, perhaps for what has been read meanwhile.
                    self._waker.wake()
                if waiter.traffic is not None:
                    for fd in (self._waker.fileno(), *self._readers):
                        with contextlib.suppress(KeyError, ValueError):  # the waker may be closed
                            waiter.traffic.poller.unregister(fd)
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            if self._waiters:
                self._wake_others()
                if not self.runs:
                    # The last is the innermost of its thread. One that a signal handler has interrupted hears nothing.
                    self._waiters[-1].ring()
            elif self._minder is not None and not self.runs:
                self._minder.note(self._next_timer())

    def _poll(self, waiter: _Waiter, seconds: float) -> None:
        """Waits for something to happen and lets it be known; in the thread whose turn it is, without the lock."""
        poller = self._poller if waiter.traffic is None else waiter.traffic.poller
        ready = poller.poll(_milliseconds(seconds))
        if self._closed:  # what can be read now is the original's
            return
        waker = self._waker.fileno()
        ours = [fd for fd, _ in ready if fd in self._readers or fd == waker]
        if ours:
            with self.lock:
                self._polls_until = -math.inf
                for fd in ours:
                    if fd == waker:
                        self._waker.clear()
                    elif fd in self._readers:
                        self._call(self._readers[fd])
                if self._waiters:
                    self._wake_others()
        if waiter.traffic is not None and len(ready) > len(ours):
            waiter.traffic.take(each for each in ready if each[0] not in ours)

    def look(self) -> None:
        """Lets it be known what has happened by now, without waiting, whichever thread runs the loop."""
        with self.lock:
            self._run_timers()
            for read in list(self._readers.values()):
                self._call(read)
            self._wake_others()

    def _call(self, call: Callable[[], object]) -> None:
        before, self._half_done = self._half_done, True
        try:
            call()
        except Exception as error:
            # An error is reported where those of a loop's callbacks are; what a signal handler raises is the caller's.
            if of_handler(error):
                raise
            report("a callback raised", error)
        self._half_done = before

    def has_work(self, now: float) -> bool:
        """Whether a wait would do something first, or comes from a signal handler within this thread's work here."""
        owned: bool = self.lock._is_owned()  # type: ignore[attr-defined]
        return owned or self._half_done or bool(self._timers and self._timers[0][0] <= now)

    @property
    def runs(self) -> bool:
        """Whether a thread runs the loop now."""
        return self._running is not None and self._running() is not None

    def _wake_others(self) -> None:
        for each in list(self._waiters):
            if each.done():
                each.ring()
        # The thread that runs the loop looks by itself, unless it polls now.
        running = None if self._running is None or self._polls_until == -math.inf else self._running()
        if running is not None and running.done():
            self._waker.wake()

    def _run_timers(self) -> None:
        now = self.time()
        while True:
            # No signal handler comes between a look at the first one and the use of it.
            if not self._timers or self._timers[0][0] > now:
                break
            first = self._timers[0]
            self._call(first[2].run)
            first[2].cancel()
            if self._timers and self._timers[0] is first:
                heapq.heappop(self._timers)
            self._wake_others()

    def _next_timer(self) -> float:
        return self._timers[0][0] if self._timers else math.inf

    def close(self) -> None:
        """Ends its thread and closes its descriptors."""
        self._closed = "this process is about to end, and its trees have ended"
        if self._minder is not None:
            self._minder.end()
        self._waker.close()

    def forked(self) -> None:
        """Closes its descriptors in a forked copy, where nobody holds the lock that a thread held at the fork."""
        self._closed = "the tree belongs to the process that this one was forked from"
        self.lock = threading.RLock()
        if self._minder is not None:
            self._minder.forked()
        self._waker.close()

    def mind(self) -> None:
        """From now on a thread runs the loop whenever nobody waits. Without threads to be had, nobody does."""
        with self.lock:
            if self._minder is None and not self._closed:
                minder = Minder(self)
                if minder.begin(list(self._readers)):
                    self._minder = minder

    def next_timer(self) -> float:
        """When the next timer is due; inf if there is none."""
        with self.lock:
            return self._next_timer()


def _nothing() -> None:
    pass


def _milliseconds(seconds: float) -> int:
    return math.ceil(min(seconds, _LONGEST) * 1000)
