"""Work that is finished, whoever is cancelled meanwhile."""

from __future__ import annotations

import asyncio
import gc
import warnings

import pytest

from treeguard._core.waiting import Finish, run_to_completion, start_unlisted

#: Far more turns of the loop than the work takes.
TURNS = 1000


async def cancelled_at_every_turn(task: asyncio.Task[str]) -> None:
    """Cancels a task until it is done."""
    for _ in range(TURNS):
        if task.done():
            return
        task.cancel()
        await asyncio.sleep(0)
    pytest.fail("it never returns")


@pytest.mark.parametrize("turns", range(8))
@pytest.mark.parametrize("finisher", ["finish", "run_to_completion"])
async def test_a_caller_that_is_cancelled_at_every_turn_of_the_loop_returns(finisher: str, turns: int) -> None:
    """Whenever the work ends, also in the same turn in which another cancellation comes."""
    done = []

    async def work() -> str:
        for _ in range(turns):
            await asyncio.sleep(0)
        done.append("work")
        return "result"

    async def call() -> str:
        return await (Finish[str]()(work) if finisher == "finish" else run_to_completion(work()))

    task = asyncio.ensure_future(call())
    await asyncio.sleep(0)
    await cancelled_at_every_turn(task)
    assert task.cancelled()
    assert done == ["work"]


def test_work_of_a_loop_that_ends_first_is_closed() -> None:
    """It was never begun, which Python would warn of."""

    async def work() -> None:
        pytest.fail("begun")

    async def end() -> asyncio.Task[None]:
        asyncio.get_running_loop().stop()
        return start_unlisted(work())

    loop = asyncio.new_event_loop()
    begun = loop.create_task(end())
    loop.run_forever()
    loop.close()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        begun.result()._log_destroy_pending = False  # type: ignore[attr-defined]
        del begun
        gc.collect()
    assert not caught


@pytest.mark.parametrize("cancelled", [False, True])
async def test_work_that_was_given_up_before_it_began_ends_cancelled(cancelled: bool) -> None:
    """Also if the end of the loop cancels its task before the first step."""

    async def work() -> None:
        pytest.fail("it has begun")

    void: list[object] = []
    coroutine = work()
    task = start_unlisted(coroutine, void)
    void.append("given up")
    coroutine.close()
    if cancelled:
        task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
