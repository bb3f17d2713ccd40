"""Virtual time on an asyncio event loop: it jumps to the next timer, so that waiting an hour takes no time."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

from .._core import validation

__all__ = ["NothingScheduled", "VirtualClock", "virtual_time"]

#: Turns of the loop in which the effects of a timer are complete: an event, who waits for it, and who waits for that.
_TURNS = 50
#: So many digits of a second are told. The loop's clock is a large number, whose last digits are noise.
_DIGITS = 9


class NothingScheduled(RuntimeError):
    """No timer is set on a loop with virtual time, and nothing happened: what is waited for will never come."""


class VirtualClock:
    """The clock of a loop with virtual time: see :func:`virtual_time`."""

    def __init__(self, loop: asyncio.BaseEventLoop, stuck_after: float) -> None:
        self._loop = loop
        self._stuck_after = stuck_after
        # A whole number, so that sums of times are as exact as those of the delays.
        self._began = float(math.ceil(loop.time()))
        self._time = 0.0
        self._working = 0
        self._move(self._began)

    def _move(self, time: float) -> None:
        """Sets the time, and the loop's resolution, within which timers are due, to the least step of that.

        A timer that comes early would find time standing still. Code that then waits for the rest would do so forever.
        """
        self._time = time
        inner: Any = self._loop
        inner._clock_resolution = math.ulp(time)

    @property
    def now(self) -> float:
        """The seconds that have passed since the block was entered."""
        return round(self._time - self._began, _DIGITS)

    def time(self) -> float:
        """The time of the loop's clock. It can be the ``clock`` of a :class:`~treeguard.HeartbeatTracker`."""
        return self._time

    async def advance(self, seconds: float) -> None:
        """Lets time pass. Returns when everything is done that is due by then."""
        await asyncio.sleep(validation.seconds("seconds", seconds))
        for _ in range(_TURNS):
            await asyncio.sleep(0)

    def _select(self, select: Callable[[float | None], Any], timeout: float | None) -> Any:
        """What the loop waits with: it looks without waiting, and lets time jump if there is nothing."""
        ready = select(0)
        if ready or timeout == 0:
            return ready
        if self._working:
            # A thread needs real time. Meanwhile virtual time passes as that does, so that no timeout comes early.
            began = time.monotonic()
            ready = select(timeout)
            passed = time.monotonic() - began
            self._move(self._time + (passed if timeout is None or ready else max(passed, timeout)))
            return ready
        if timeout is not None:
            self._move(self._time + timeout)
            return ready
        # Only something from outside can go on: another thread, a signal, a peer.
        ready = select(self._stuck_after)
        if not ready:
            raise NothingScheduled(
                f"no timer is set, and nothing happened in {self._stuck_after:g} s: "
                "what is waited for will not come. Does a scripted child have to end, or to write?"
            )
        return ready

    def _run_in_executor(self, run: Callable[..., Any]) -> Callable[..., Any]:
        def run_in_executor(executor: Any, func: Callable[..., Any], *args: Any) -> Any:
            future = run(executor, func, *args)
            self._working += 1
            future.add_done_callback(self._done)
            return future

        return run_in_executor

    def _done(self, _: object) -> None:
        self._working -= 1


class _Selector:
    """The loop's selector, or its proactor on Windows, but for the wait."""

    def __init__(self, clock: VirtualClock, selector: Any) -> None:
        self._clock = clock
        self._selector = selector

    def select(self, timeout: float | None = None) -> Any:
        return self._clock._select(self._selector.select, timeout)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._selector, name)


@contextlib.contextmanager
def virtual_time(*, stuck_after: float = 10.0) -> Iterator[VirtualClock]:
    """Gives the running event loop a virtual clock for the length of a block.

    Whenever the loop has nothing to do, its time jumps to the next timer. So sleeps, timeouts, grace periods and
    scripted delays take no real time, and come in their order. Time stands still while code runs, and jumps no further
    than a call of :meth:`VirtualClock.advance` that is under way::

        with virtual_time() as clock:
            async with ScriptedManager() as manager:
                manager.script("server", exit=None)
                tree = await manager.spawn("server")
                assert not await tree.wait_empty(timeout=3600)
                assert clock.now == 3600

    Everything that uses the loop's clock sees it: ``asyncio.sleep``, ``asyncio.timeout`` and ``wait_for``, and every
    timeout of treeguard's asyncio interface. ``time.monotonic`` stays real, and so does what builds on it, such as
    :func:`treeguard.run`. While a thread of the loop's executor works, virtual time passes as real time does. For other
    threads, processes and network peers the clock does not wait, so do not use it with them.

    Where no timer is set, the loop waits ``stuck_after`` real seconds for something from outside, and then raises
    :class:`NothingScheduled` instead of hanging. Raises TypeError for a loop that is not asyncio's own, such as
    uvloop's, whose clock cannot be replaced.
    """
    loop = asyncio.get_running_loop()
    if not isinstance(loop, asyncio.BaseEventLoop) or not hasattr(loop, "_selector"):
        raise TypeError(f"virtual_time needs an event loop of asyncio itself, not {type(loop).__name__}")
    if "time" in vars(loop):
        raise RuntimeError("this event loop has a virtual clock already")
    inner: Any = loop
    selector, resolution = inner._selector, inner._clock_resolution
    clock = VirtualClock(loop, stuck_after)
    inner.run_in_executor = clock._run_in_executor(loop.run_in_executor)
    inner._selector = _Selector(clock, selector)
    inner.time = clock.time
    try:
        yield clock
    finally:
        del inner.time, inner.run_in_executor
        inner._selector, inner._clock_resolution = selector, resolution
