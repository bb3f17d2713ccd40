"""A thread that waits for what no loop can watch. It wakes the loop each time, and keeps no object alive."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref

import pytest

from treeguard._core.poll_thread import PollThread

from ..support.patience import until, wait_until

NAME = "treeguard-test"


class Bell:
    """Can be waited for by one thread; remembers how often it rang."""

    def __init__(self) -> None:
        self._rung = threading.Semaphore(0)

    def wait(self, timeout: float | None) -> bool:
        return self._rung.acquire(timeout=timeout)

    def wake(self) -> None:
        self._rung.release()


class Looker:
    """Looks, and may fail in it."""

    def __init__(self, bell: Bell, *, fails: bool = False) -> None:
        self.waiter = PollThread(bell, NAME)
        self.fails = fails
        self.looks: list[threading.Thread] = []

    def look(self) -> None:
        self.looks.append(threading.current_thread())
        if self.fails:
            raise RuntimeError("nothing to see")


def threads() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name == NAME]


async def test_the_loop_looks_each_time() -> None:
    """Once for each ring, in the loop's thread; after the end no more, and the thread is gone."""
    bell = Bell()
    looker = Looker(bell)
    looker.waiter.begin(asyncio.get_running_loop(), looker.look)
    for count in range(1, 4):
        bell.wake()
        await until(lambda count=count: len(looker.looks) == count, "it has looked")  # type: ignore[misc]
    looker.waiter.end()
    assert threads() == []
    bell.wake()
    await asyncio.sleep(0)
    assert looker.looks == [threading.current_thread()] * 3


async def test_a_look_that_fails_is_not_the_last() -> None:
    """The loop is told what was wrong, and looks again the next time."""
    told: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(context["exception"]))
    bell = Bell()
    looker = Looker(bell, fails=True)
    looker.waiter.begin(loop, looker.look)
    for count in range(1, 3):
        bell.wake()
        await until(lambda count=count: len(told) == count, "it was told")  # type: ignore[misc]
    looker.waiter.end()
    assert len(looker.looks) == 2


def test_it_goes_on_with_another_loop() -> None:
    """What rings while there is none is seen by the next one."""
    bell = Bell()
    looker = Looker(bell)

    async def begin() -> None:
        looker.waiter.begin(asyncio.get_running_loop(), looker.look)

    async def go_on() -> None:
        await begin()
        bell.wake()
        await until(lambda: looker.looks, "it has looked")

    asyncio.run(begin())
    bell.wake()
    wait_until(lambda: not threads(), "the thread has seen that its loop is closed")
    asyncio.run(go_on())
    looker.waiter.end()
    assert threads() == []


async def test_an_owner_that_is_forgotten_is_not_kept() -> None:
    """The thread knows it weakly."""
    bell = Bell()
    looker = Looker(bell)
    waiter, gone = looker.waiter, weakref.ref(looker)
    waiter.begin(asyncio.get_running_loop(), looker.look)
    del looker
    gc.collect()
    assert gone() is None
    bell.wake()
    waiter.end()


@pytest.mark.parametrize("times", [1, 2])
def test_ending_what_has_not_begun(times: int) -> None:
    """It is no error, as often as it is done."""
    waiter = PollThread(Bell(), NAME)
    for _ in range(times):
        waiter.end()
