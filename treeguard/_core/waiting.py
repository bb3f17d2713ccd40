"""Waiting that must finish, even if a caller is cancelled in the meantime."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator, Sequence
from typing import Any, Generic, TypeVar

__all__ = ["Finish", "Waiters", "aside", "run_to_completion", "start_unlisted"]

#: How often work begins again that is interrupted each time.
_ATTEMPTS = 10

T = TypeVar("T")


class Waiters(set["asyncio.Future[None]"]):
    """The callers that wait for the next change of something, on any loop."""

    __slots__ = ()

    def wake(self) -> None:
        """Ends the wait of each. A caller whose loop was closed waits no more. Calling it again has no effect."""
        for waiter in self:
            if not waiter.done() and not waiter.get_loop().is_closed():
                waiter.set_result(None)
        self.clear()

    async def wait(self, timeout: float | None = None) -> None:
        """Waits for the next :meth:`wake`, for at most ``timeout`` seconds."""
        waiter = asyncio.get_running_loop().create_future()
        self.add(waiter)
        try:
            if timeout is None:
                await waiter
            else:
                await asyncio.wait({waiter}, timeout=timeout)
        finally:
            self.discard(waiter)


def start_unlisted(work: Coroutine[Any, Any, T], void: Sequence[object] = ()) -> asyncio.Task[T]:
    """Runs ``work`` as a task that ``asyncio.all_tasks`` does not list.

    ``asyncio.run`` and signal handlers end a program by cancelling all tasks, perhaps several times. They must not
    cancel the work that cleans up. A task factory does not see the task either.

    An exception of a signal handler may come when the task exists and the caller does not hold it yet. To give up the
    work then, the caller puts something into ``void``, and the work does not begin.
    """
    task = asyncio.Task(_Revocable(work, void), loop=asyncio.get_running_loop())
    asyncio._unregister_task(task)
    return task


class _Revocable(Coroutine[Any, Any, T]):
    """A coroutine that does not begin if there is something in ``void``.

    A loop may end before its first step. Then the work is closed, or Python would warn that it was never awaited.
    """

    def __init__(self, work: Coroutine[Any, Any, T], void: Sequence[object]) -> None:
        self._work = work
        self._void = void
        self._begun = False

    def send(self, value: Any) -> Any:
        self._begin()
        return self._work.send(value)

    def throw(self, *error: Any) -> Any:
        self._begin()
        return self._work.throw(*error)

    def _begin(self) -> None:
        # The end of a loop may cancel the task before its first step, which then is a throw.
        if not self._begun and self._void:
            raise asyncio.CancelledError
        self._begun = True

    def close(self) -> None:
        self._work.close()

    def __await__(self) -> Generator[Any, Any, T]:
        return self._work.__await__()

    def __del__(self) -> None:
        if not self._begun:
            self._work.close()


async def run_to_completion(work: Coroutine[Any, Any, T]) -> T:
    """Runs ``work`` to its end. An exception that arrives here in the meantime, usually a cancellation, is raised then.

    That exception is raised from the error of the work, if there is one.
    """
    under_way: list[asyncio.Task[T]] = []
    void: list[BaseException] = []
    interrupted: BaseException | None = None
    while not (under_way and under_way[0].done()):
        try:
            if not under_way:
                under_way.append(start_unlisted(work, void))
            await asyncio.wait(under_way)
        except GeneratorExit:
            raise
        except BaseException as e:
            if not under_way:
                void.append(e)
                work.close()
                raise
            interrupted = e
    (task,) = under_way
    if interrupted is not None:
        raise interrupted from (None if task.cancelled() else task.exception())
    return task.result()


class Finish(Generic[T]):
    """Work that runs once for any number of callers, and to its end: after an interruption it begins again.

    So the work must be able to continue from where it was interrupted. It is given up after too many interruptions.
    """

    def __init__(self) -> None:
        self._task: asyncio.Task[T] | None = None
        self._attempts = 0

    async def __call__(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of ``work``. An exception that arrives at the caller in the meantime is raised when it is done."""
        task: asyncio.Task[T] | None = None
        interrupted: BaseException | None = None
        over = False
        while task is None or not over:
            try:
                task = self._under_way(work)
                # Waiting for a finished task would take a turn of the loop, in which the next cancellation comes.
                if not task.done():
                    await asyncio.wait({task})
                over = _succeeded(task) or self._attempts >= _ATTEMPTS
            except BaseException as e:
                self._attempts += not isinstance(e, asyncio.CancelledError)
                if isinstance(e, GeneratorExit) or self._attempts > 2 * _ATTEMPTS:
                    raise
                interrupted = e
        if interrupted is not None:
            raise interrupted from (None if task.cancelled() else task.exception())
        return task.result()

    def _under_way(self, work: Callable[[], Coroutine[Any, Any, T]]) -> asyncio.Task[T]:
        """The current task, or a new one if that was interrupted or its loop is closed. There is one at a time."""
        task = self._task
        if task is None or task.get_loop().is_closed() or (task.done() and not _succeeded(task)):
            self._attempts += 1
            begun = work()
            void: list[BaseException] = []
            try:
                task = self._task = start_unlisted(begun, void)
            except BaseException as e:
                void.append(e)
                begun.close()
                raise
        return task


def _succeeded(task: asyncio.Task[Any]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


async def aside(work: Callable[[], T]) -> T:
    """Runs work that takes milliseconds in a thread of the loop's executor."""
    return await asyncio.get_running_loop().run_in_executor(None, work)
