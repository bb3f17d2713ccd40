"""Virtual time on a loop: it jumps when there is nothing to do, and only then."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from treeguard import ConnectionId, HeartbeatTracker, ProcessId, ShutdownTreeResponse, graceful_shutdown_tree
from treeguard.testing import NothingScheduled, ScriptedManager, VirtualClock, virtual_time

#: Real seconds that nothing here takes.
AT_ONCE = 5.0


@pytest.fixture
async def clock() -> Any:
    """Of this test's loop."""
    began = time.monotonic()
    with virtual_time() as clock:
        yield clock
    assert time.monotonic() - began < AT_ONCE


async def test_time_jumps(clock: VirtualClock) -> None:
    """A day passes at once, for everything that looks at the loop's clock."""
    loop = asyncio.get_running_loop()
    before = loop.time()
    await asyncio.sleep(86_400)
    assert clock.now == loop.time() - before == pytest.approx(86_400)
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(loop.create_future(), 60)
    assert clock.now == pytest.approx(86_460)


async def test_timers_keep_their_order(clock: VirtualClock) -> None:
    """What is due earlier happens earlier, and what is done takes no time."""
    order: list[tuple[int, float]] = []

    def note(delay: int) -> None:
        order.append((delay, round(clock.now, 6)))

    for delay in (3, 1, 2):
        asyncio.get_running_loop().call_later(delay, note, delay)
    await asyncio.sleep(4)
    assert order == [(1, 1.0), (2, 2.0), (3, 3.0)]


async def test_advance_stops_where_it_is_told(clock: VirtualClock) -> None:
    """What is due by then has been done, and its effects; nothing else has."""
    async with ScriptedManager() as manager:
        manager.script("sleep", after=2.0)
        tree = await manager.spawn("sleep", "2")
        waiting = asyncio.ensure_future(tree.wait())
        await clock.advance(1.5)
        assert (clock.now, waiting.done()) == (1.5, False)
        await clock.advance(0.5)
        assert (clock.now, waiting.done()) == (2.0, True)
        with pytest.raises(ValueError, match="seconds"):
            await clock.advance(-1)


async def test_nothing_scheduled_is_an_error() -> None:
    """What can never happen does not hang, and a thread that wakes the loop is waited for."""
    loop = asyncio.new_event_loop()

    async def wait_for_ever() -> None:
        with virtual_time(stuck_after=0.05):
            await loop.create_future()

    async def wait_for_a_thread() -> str:
        with virtual_time(stuck_after=AT_ONCE):
            told: asyncio.Future[str] = loop.create_future()
            thread = threading.Thread(target=lambda: loop.call_soon_threadsafe(told.set_result, "told"))
            thread.start()
            try:
                return await told
            finally:
                thread.join()

    def run() -> None:
        try:
            waiting = loop.create_task(wait_for_ever())
            with pytest.raises(NothingScheduled, match="nothing happened"):
                loop.run_until_complete(waiting)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                loop.run_until_complete(waiting)
            assert loop.run_until_complete(wait_for_a_thread()) == "told"
        finally:
            loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    await asyncio.get_running_loop().run_in_executor(None, thread.join)


async def test_a_working_thread_has_real_time(clock: VirtualClock) -> None:
    """A timeout does not come before the thread is done only because nobody else has anything to do."""
    going_on = threading.Event()
    threading.Timer(0.05, going_on.set).start()
    done = await asyncio.wait_for(asyncio.get_running_loop().run_in_executor(None, going_on.wait, AT_ONCE), AT_ONCE)
    assert done
    assert 0.01 < clock.now < AT_ONCE


async def test_the_loop_is_as_before_afterwards() -> None:
    """Its own clock, selector and executor, whatever happened in the block; one clock at a time."""
    loop: Any = asyncio.get_running_loop()
    before = (loop.time, loop._selector, loop.run_in_executor, loop._clock_resolution)
    with virtual_time(), pytest.raises(RuntimeError, match="already"), virtual_time():
        pass
    with pytest.raises(ZeroDivisionError), virtual_time():
        _ = 1 / 0
    assert (loop.time, loop._selector, loop.run_in_executor, loop._clock_resolution) == before


def test_other_loops_are_refused(uvloop: Any) -> None:
    """Their clock cannot be replaced."""

    async def begin() -> None:
        with virtual_time():
            pass

    loop = uvloop.new_event_loop()
    try:
        with pytest.raises(TypeError, match="asyncio itself"):
            loop.run_until_complete(begin())
    finally:
        loop.close()


async def test_pipes_go_before_time(clock: VirtualClock) -> None:
    """What can be read now is read before the clock jumps."""
    loop = asyncio.get_running_loop()
    reader, writer = os.pipe()
    got: list[float] = []

    def read() -> None:
        os.read(reader, 1)
        got.append(clock.now)

    try:
        loop.add_reader(reader, read)
        loop.call_later(1.0, os.write, writer, b"x")
        await asyncio.sleep(10)
    finally:
        loop.remove_reader(reader)
        os.close(reader)
        os.close(writer)
    assert got == [1.0]


async def test_heartbeats(clock: VirtualClock) -> None:
    """A child that falls silent is killed, hours later."""
    conn = ConnectionId(UUID(int=3))
    expired: list[tuple[ConnectionId, ProcessId]] = []
    async with ScriptedManager() as manager:
        manager.script("worker", exit=None)
        tree = await manager.spawn("worker")
        tracker = HeartbeatTracker(manager, 600.0, 3, on_expired=lambda *who: expired.append(who), clock=clock.time)
        async with tracker:
            tracker.track_connection(conn, tree.id)
            for _ in range(10):
                await clock.advance(600.0)
                tracker.record_heartbeat(conn)
            assert not expired
            assert await tree.wait_empty(timeout=86_400)
        assert expired == [(conn, tree.id)]
    assert 6000 + 1800 <= clock.now <= 6000 + 2400


@pytest.mark.parametrize(
    ("agrees", "script", "seconds", "outcome"),
    [
        (True, {"after": 5.0}, 5.0, (True, True, False)),
        (True, {"exit": None}, 70.0, (True, True, True)),
        (False, {"exit": None}, 10.0, (False, True, True)),
    ],
)
async def test_graceful_shutdown(
    clock: VirtualClock, agrees: bool, script: dict[str, Any], seconds: float, outcome: tuple[bool, ...]
) -> None:
    """An answer after ten seconds, and a minute to end in."""

    async def ask() -> ShutdownTreeResponse:
        await asyncio.sleep(10.0 if script != {"after": 5.0} else 1.0)
        return ShutdownTreeResponse(agrees)

    async with ScriptedManager() as manager:
        manager.script("child", **script)
        tree = await manager.spawn("child")
        done = await graceful_shutdown_tree(manager, tree.id, ask, ack_timeout=20.0, exit_timeout=60.0)
        assert (done.acknowledged, done.exited, done.forced) == outcome
    assert clock.now == pytest.approx(seconds)


@pytest.fixture(autouse=True)
def _quick() -> Iterator[None]:
    """No test here waits in real time."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < 2 * AT_ONCE
