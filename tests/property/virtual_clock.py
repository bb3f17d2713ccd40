"""An asyncio event loop whose clock is virtual: time jumps to the next timer, so waiting an hour takes no time."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

#: A clock beyond this one, in seconds, belongs to a loop that runs without end.
_END_OF_TIME = 1e6
#: How much later, in seconds, nothing is left of what was run.
_LONG_AFTER = 1e3


class Deadlock(Exception):
    """Nothing is scheduled any more, so that what is waited for can never happen."""


class _Clock(selectors.DefaultSelector):
    """Never waits: says how long the loop would have."""

    waited: Callable[[float | None], None]

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            self.waited(timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """Counts its turns, and calls ``on_turn`` with the number of each before it: a moment to interfere."""

    def __init__(self, on_turn: Callable[[int], bool] | None = None) -> None:
        self.now = 0.0
        self.turns = 0
        self.errors: list[dict[str, Any]] = []
        self._on_turn = on_turn
        clock = _Clock()
        clock.waited = self._turn
        super().__init__(clock)
        # The real clock's, by which timers may be early: 16 ms on Windows, a nanosecond on Linux.
        self._clock_resolution = 1e-9
        self.set_exception_handler(lambda _, context: self.errors.append(context))
        self.made: list[asyncio.Task[Any]] = []
        self.set_task_factory(self._make_task)

    def _make_task(self, _: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Task[Any]:
        task = asyncio.Task(work, loop=self, **options)
        self.made.append(task)
        return task

    def time(self) -> float:
        return self.now

    def _turn(self, timeout: float | None) -> None:
        self.turns += 1
        if self._on_turn is not None and self._on_turn(self.turns):
            return  # What was done in it comes first: the clock stands still.
        if timeout is None or self.now > _END_OF_TIME:
            raise Deadlock
        self.now += timeout


class Canceller:
    """Cancels a task in given turns of its loop, if it has begun and is not done."""

    def __init__(self, *turns: int) -> None:
        self.task: asyncio.Task[Any] | None = None
        self.at: list[float] = []
        self.turns = 0
        self._planned = turns

    def __call__(self, turn: int) -> bool:
        if self.task is None or self.task.done():
            return False
        self.turns = turn
        if turn not in self._planned:
            return False
        self.at.append(self.task.get_loop().time())
        self.task.cancel()
        return True


def run(work: Coroutine[Any, Any, T], on_turn: Callable[[int], bool] | None = None) -> tuple[T, float]:
    """Runs ``work``. Returns its result, and the virtual time that it took.

    ``on_turn`` says whether it did something. What ``work`` leaves behind fails the run: a task that goes on without
    end, or an error that nobody retrieved.
    """
    loop = VirtualLoop(on_turn)
    try:
        result = loop.run_until_complete(work)
        took = loop.now
        loop.run_until_complete(asyncio.sleep(_LONG_AFTER))
        left = asyncio.all_tasks(loop)
        assert not left, f"left running: {left}"
        lost = [task for task in loop.made if getattr(task, "_log_traceback", False)]
        assert not lost, f"errors that nobody retrieved: {lost}"
        assert not loop.errors, loop.errors
        return result, took
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
