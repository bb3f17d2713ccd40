"""What can be done to a supervisor over its sockets, scaled down: ``python -m benchmarks.strangers`` is the whole."""

from __future__ import annotations

import asyncio
import time

import pytest

from benchmarks import strangers

from ..support.patience import SLOWNESS

#: Milliseconds, and percent: generous, for machines that do other things as well. A loop that closes what lingers, or
#: reads without end, stands still for seconds, or takes all that it can have.
STANDSTILL = 500.0
SHARE = 25.0
SECONDS = 2.0


@pytest.mark.parametrize("what", strangers.ATTACKS[1:])
@pytest.mark.parametrize("by", ["stranger", "child"])
async def test_what_is_sent_harms_nobody(by: strangers.By, what: str) -> None:
    """The child lives, and is heard after it; the loop goes on; the supervisor has little to do."""
    found = await strangers.attack(what, by, SECONDS, processes=2)
    assert found.lives
    assert found.heard
    assert found.supervisor.standstill < STANDSTILL * SLOWNESS
    assert found.share < SHARE


async def test_control_a_loop_that_stands_still_is_seen() -> None:
    """And so is one that is busy."""

    def block() -> None:
        time.sleep(0.6)  # what is to be seen

    def burn() -> None:
        end = time.thread_time() + 0.6
        while time.thread_time() < end:
            pass

    loop = asyncio.get_running_loop()
    loop.call_later(0.1, block)
    assert (await strangers.watched(1.0)).standstill > STANDSTILL
    loop.call_later(0.1, burn)
    assert (await strangers.watched(1.0)).share > SHARE
