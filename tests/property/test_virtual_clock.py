"""The clock that other tests rely on."""

import asyncio
import time

import pytest

from .virtual_clock import Deadlock, run


def test_time_jumps() -> None:
    """A day of sleep takes a day of virtual time, and next to no real time."""
    began = time.monotonic()
    _, took = run(asyncio.sleep(86_400.0))
    assert took == 86_400.0
    assert time.monotonic() - began < 5


def test_timers_keep_their_order() -> None:
    """What is due earlier happens earlier."""

    async def work() -> list[int]:
        order: list[int] = []
        loop = asyncio.get_running_loop()
        for delay in (3, 1, 2):
            loop.call_later(delay, order.append, delay)
        await asyncio.sleep(4)
        return order

    assert run(work()) == ([1, 2, 3], 4.0)


def test_deadlock_is_found() -> None:
    """Waiting for what can never happen raises Deadlock instead of hanging."""

    async def work() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Deadlock):
        run(work())


def test_an_interference_stops_the_clock() -> None:
    """What is done in a turn is seen by the loop before time goes on."""
    seen: list[float] = []

    async def work() -> None:
        loop = asyncio.get_running_loop()
        woken = loop.create_future()
        wake.append(lambda: woken.set_result(None))
        sleeping = asyncio.ensure_future(asyncio.sleep(5))
        await woken
        seen.append(loop.time())
        await sleeping

    wake: list[object] = []

    def on_turn(turn: int) -> bool:
        if turn == 3:
            wake[0]()  # type: ignore[operator]
        return turn == 3

    _, took = run(work(), on_turn)
    assert seen == [0.0]
    assert took == 5.0


def test_an_error_that_nobody_retrieves_fails_the_run() -> None:
    """An exception lost in a forgotten task is not lost on the test."""

    async def work() -> None:
        async def fail() -> None:
            raise OSError("lost")

        asyncio.ensure_future(fail())  # noqa: RUF006 - to be forgotten

    with pytest.raises(AssertionError, match="nobody retrieved"):
        run(work())


def test_a_task_that_goes_on_fails_the_run() -> None:
    """A task that is left running is not left unseen."""

    async def work() -> None:
        async def go_on() -> None:
            await asyncio.get_running_loop().create_future()

        asyncio.ensure_future(go_on())  # noqa: RUF006 - to be forgotten

    with pytest.raises(AssertionError, match="left running"):
        run(work())
