"""Work that is finished, whoever is cancelled meanwhile."""

from __future__ import annotations

import asyncio

import pytest

from treeguard._core.waiting import Finish, run_to_completion

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
