"""What a system without processes needs of an event loop: timers, pipes, and telling an engine that there is news."""

from __future__ import annotations

import asyncio
import contextlib
import time
import weakref
from collections.abc import Callable
from typing import Any

from .._core.engine.watch import call_weakly

__all__ = ["Stage", "Timer"]

#: The pause between attempts to write where the loop does not tell when a pipe has room, in seconds.
_RETRY = 0.001

Action = Callable[[], None]


class Timer:
    """An action that is due later."""

    __slots__ = ("_stage", "action", "due", "handle")

    def __init__(self, stage: Stage, due: float, action: Action) -> None:
        self._stage = stage
        self.due = due
        self.action = action
        self.handle: asyncio.TimerHandle | None = None

    def cancel(self) -> None:
        """Takes it back. Again is no error."""
        self._stage.cancel(self)

    def run(self) -> None:
        """Its time has come."""
        self._stage.forget_timer(self)
        self.action()


class Stage:
    """The loop that an engine is bound to. What was set on a loop that has been closed goes on on the next one.

    Besides asyncio's loops it may be the pump of a blocking manager, which has readers and timers only.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process_events: weakref.WeakMethod[Action] | None = None
        self._timers: set[Timer] = set()
        self._readers: dict[int, Action] = {}
        self._writers: dict[int, Action] = {}
        self._began: float | None = None
        self._telling = False

    # What the engine asks.

    def begin(self, loop: asyncio.AbstractEventLoop, process_events: Action) -> None:
        """See :class:`.Watch`."""
        passed = 0.0 if self._loop is None else self._loop.time()
        self._release()
        self._loop, self._process_events, self._telling = loop, weakref.WeakMethod(process_events), False
        if self._began is None:
            self._began = loop.time()
        else:
            self._began += loop.time() - passed
        for timer in self._timers:
            timer.due += loop.time() - passed
            self._set(timer)
        for fd, action in self._readers.items():
            self._add_reader(fd, action)
        for fd, action in list(self._writers.items()):
            self.when_writable(fd, action)
        self.tell()

    def end(self) -> None:
        """See :class:`.Watch`."""
        self._release()
        self._process_events = None

    def pause(self, seconds: float) -> None:
        """See :class:`.Watch`."""
        time.sleep(seconds)

    def _release(self) -> None:
        for timer in self._timers:
            if timer.handle is not None:
                timer.handle.cancel()
        if self._alive:
            for fd in self._readers:
                self._remove("remove_reader", fd)
            for fd in self._writers:
                self._remove("remove_writer", fd)

    @property
    def _alive(self) -> bool:
        return self._loop is not None and not self._loop.is_closed()

    @property
    def now(self) -> float:
        """The seconds since its first loop was bound."""
        return 0.0 if self._loop is None or self._began is None else round(self._loop.time() - self._began, 9)

    # What the children ask.

    def tell(self) -> None:
        """Lets the engine look for events in the loop's next turn."""
        loop, method = self._loop, self._process_events
        if self._telling or method is None or loop is None or loop.is_closed():
            return
        self._telling = True
        soon: Any = getattr(loop, "call_soon", None)
        if soon is not None:
            soon(self._tell, method)
        else:
            loop.call_later(0.0, self._tell, method)

    def _tell(self, method: weakref.WeakMethod[Action]) -> None:
        self._telling = False
        call_weakly(method)

    def later(self, delay: float, action: Action) -> Timer:
        """Sets a timer."""
        timer = Timer(self, (0.0 if self._loop is None else self._loop.time()) + delay, action)
        self._timers.add(timer)
        self._set(timer)
        return timer

    def cancel(self, timer: Timer) -> None:
        """See :meth:`Timer.cancel`."""
        self.forget_timer(timer)
        if timer.handle is not None:
            timer.handle.cancel()

    def forget_timer(self, timer: Timer) -> None:
        """It has come, or was taken back."""
        self._timers.discard(timer)

    def _set(self, timer: Timer) -> None:
        if self._alive:
            assert self._loop is not None
            timer.handle = self._loop.call_later(max(0.0, timer.due - self._loop.time()), timer.run)

    def when_readable(self, fd: int, action: Action) -> None:
        """Calls ``action`` whenever a descriptor is readable; never on a loop that watches none, as Windows has."""
        self._readers[fd] = action
        self._add_reader(fd, action)

    def _add_reader(self, fd: int, action: Action) -> None:
        if self._alive:
            assert self._loop is not None
            with contextlib.suppress(NotImplementedError):
                self._loop.add_reader(fd, action)

    def when_writable(self, fd: int, action: Action) -> None:
        """Calls ``action`` once, when a descriptor may have room."""
        self._writers[fd] = action
        if not self._alive:
            return
        loop: Any = self._loop
        try:
            loop.add_writer(fd, self._writable, fd)
        except (AttributeError, NotImplementedError):
            loop.call_later(_RETRY, self._writable, fd)

    def _writable(self, fd: int) -> None:
        action = self._writers.pop(fd, None)
        self._remove("remove_writer", fd)
        if action is not None:
            action()

    def forget(self, fd: int) -> None:
        """Watches a descriptor no more; called before it is closed."""
        if self._readers.pop(fd, None) is not None:
            self._remove("remove_reader", fd)
        if self._writers.pop(fd, None) is not None:
            self._remove("remove_writer", fd)

    def _remove(self, how: str, fd: int) -> None:
        remove = getattr(self._loop, how, None)
        if remove is None or not self._alive:
            return
        with contextlib.suppress(NotImplementedError):
            remove(fd)

    def close(self) -> None:
        """Forgets everything."""
        self._release()
        self._timers.clear()
        self._readers.clear()
        self._writers.clear()
