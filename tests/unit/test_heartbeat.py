"""Heartbeats, checked by hand on a clock that is set: which child is killed, when, and what may go wrong meanwhile."""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import pytest

from treeguard import ConnectionId, HeartbeatTracker, ProcessEnded, ProcessId, UnknownProcess
from treeguard.errors import NotOwner, UnknownConnection

from ..property.managers import NeverSpawning
from ..support.clock import Clock
from ..support.patience import until

CONNS = [ConnectionId(UUID(int=100 + i)) for i in range(4)]
PIDS = [ProcessId(UUID(int=200 + i)) for i in range(4)]
A, B, C, D = CONNS
PID_A, PID_B, PID_C, PID_D = PIDS


class Manager(NeverSpawning):
    """Records the kills, without killing. It can be told to fail or hang for a child."""

    def __init__(self) -> None:
        self.killed: list[ProcessId] = []
        self.errors: dict[ProcessId, list[Exception]] = {}
        self.hanging: set[ProcessId] = set()

    async def kill_tree(self, pid: ProcessId) -> None:
        self.killed.append(pid)
        await asyncio.sleep(0)
        if self.errors.get(pid):
            raise self.errors[pid].pop(0)
        if pid in self.hanging:
            await asyncio.get_running_loop().create_future()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def manager() -> Manager:
    return Manager()


@pytest.fixture
def expired() -> list[tuple[ConnectionId, ProcessId]]:
    return []


@pytest.fixture
def tracker(manager: Manager, clock: Clock, expired: list[tuple[ConnectionId, ProcessId]]) -> HeartbeatTracker:
    return HeartbeatTracker(manager, 1.0, 3, on_expired=lambda *who: expired.append(who), clock=clock)


async def check_for(tracker: HeartbeatTracker, clock: Clock, intervals: int, *beating: ConnectionId) -> None:
    """Lets time go on, with a check each interval, while some give signs of life."""
    for _ in range(intervals):
        clock.now += 1
        for conn in beating:
            tracker.record_heartbeat(conn)
        await tracker.check()


async def test_the_silent_are_killed(
    tracker: HeartbeatTracker, manager: Manager, clock: Clock, expired: list[tuple[ConnectionId, ProcessId]]
) -> None:
    """Silent for as long as is allowed is alive; for longer is killed and reported, once. Who beats lives."""
    for conn, pid in ((A, PID_A), (B, PID_B)):
        tracker.track_connection(conn, pid)
    await check_for(tracker, clock, 3, B)
    assert manager.killed == []
    clock.now += 0.001
    assert await tracker.check() == (A,)
    await check_for(tracker, clock, 10, B)
    assert manager.killed == [PID_A]
    assert expired == [(A, PID_A)]
    assert len(tracker) == 1


async def test_the_expired_are_logged_with_their_ids(
    tracker: HeartbeatTracker, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """The record names connection and child, to read and to filter by."""
    tracker.track_connection(A, PID_A)
    await check_for(tracker, clock, 4)
    [record] = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert f"connection {A} of {PID_A} was silent for 4 s" in record.getMessage()
    assert (vars(record)["connection_id"], vars(record)["process_id"]) == (str(A), str(PID_A))


@pytest.mark.parametrize("use", [HeartbeatTracker.record_heartbeat, HeartbeatTracker.remove])
async def test_unknown_connections(
    use: Callable[[HeartbeatTracker, ConnectionId], None], tracker: HeartbeatTracker, clock: Clock
) -> None:
    """A connection that was never tracked, was removed or has expired is unknown. The error names it."""
    tracker.track_connection(A, PID_A)
    tracker.remove(A)
    tracker.track_connection(B, PID_B)
    await check_for(tracker, clock, 4)
    for conn in (A, B, C):
        with pytest.raises(UnknownConnection, match=str(conn)):
            use(tracker, conn)
    with pytest.raises(LookupError):
        use(tracker, C)


async def test_the_removed_are_left_alone(tracker: HeartbeatTracker, manager: Manager, clock: Clock) -> None:
    """A connection that ended in order does not count as silent, and may be tracked again."""
    tracker.track_connection(A, PID_A)
    tracker.remove(A)
    await check_for(tracker, clock, 10)
    tracker.track_connection(A, PID_A)
    await check_for(tracker, clock, 3)
    assert manager.killed == []


async def test_to_track_again_is_a_sign_of_life(tracker: HeartbeatTracker, manager: Manager, clock: Clock) -> None:
    """For the same child; another child's connection is refused, and stays as it was."""
    tracker.track_connection(A, PID_A)
    await check_for(tracker, clock, 2)
    tracker.track_connection(A, PID_A)
    await check_for(tracker, clock, 2)
    with pytest.raises(ValueError, match=f"connection {A} is tracked already, for {PID_A}"):
        tracker.track_connection(A, PID_B)
    assert manager.killed == []
    await check_for(tracker, clock, 2)
    assert manager.killed == [PID_A]


async def test_each_connection_of_a_child_is_judged(
    tracker: HeartbeatTracker, manager: Manager, clock: Clock, expired: list[tuple[ConnectionId, ProcessId]]
) -> None:
    """One that is silent condemns the child, whatever the other says; two at once kill it once."""
    for conn in (A, B, C):
        tracker.track_connection(conn, PID_A)
    await check_for(tracker, clock, 4, B)
    assert manager.killed == [PID_A]
    assert expired == [(A, PID_A), (C, PID_A)]


async def test_a_failed_kill_is_repeated(
    tracker: HeartbeatTracker,
    manager: Manager,
    clock: Clock,
    expired: list[tuple[ConnectionId, ProcessId]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """At each check until it succeeds. It is reported once, and delays no other kill."""
    manager.errors[PID_A] = [OSError("no"), RuntimeError("still not")]
    for conn, pid in ((A, PID_A), (B, PID_B)):
        tracker.track_connection(conn, pid)
    await check_for(tracker, clock, 4)
    assert sorted(manager.killed) == [PID_A, PID_B]
    with pytest.raises(ProcessEnded, match=str(PID_A)):
        tracker.track_connection(C, PID_A)
    await check_for(tracker, clock, 5)
    assert sorted(manager.killed) == [PID_A, PID_A, PID_A, PID_B]
    assert sorted(expired) == [(A, PID_A), (B, PID_B)]
    failures = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [vars(record)["process_id"] for record in failures] == [str(PID_A)] * 2
    tracker.track_connection(C, PID_A)


@pytest.mark.parametrize("error", [UnknownProcess("whose?"), NotOwner("closed"), ProcessEnded("gone")])
async def test_a_kill_that_can_never_succeed_is_not(
    tracker: HeartbeatTracker, manager: Manager, clock: Clock, error: Exception
) -> None:
    """A child that this manager does not have, or not any more, is let go."""
    manager.errors[PID_A] = [error]
    tracker.track_connection(A, PID_A)
    await check_for(tracker, clock, 8)
    assert manager.killed == [PID_A]


async def test_who_calls_for_help_is_killed_at_once(
    tracker: HeartbeatTracker,
    manager: Manager,
    expired: list[tuple[ConnectionId, ProcessId]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is reported once, logged with its ids, and no longer tracked. No other connection is judged."""
    for conn, pid in ((A, PID_A), (B, PID_B)):
        tracker.track_connection(conn, pid)
    tracker.expire(A)
    with pytest.raises(UnknownConnection, match=str(A)):
        tracker.expire(A)
    await tracker.stop()
    assert manager.killed == [PID_A]
    assert expired == [(A, PID_A)]
    [record] = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert (vars(record)["connection_id"], vars(record)["process_id"]) == (str(A), str(PID_A))
    assert len(tracker) == 1


async def test_it_can_be_halted(manager: Manager) -> None:
    """At once, without waiting: no connection is judged any more, and it can be started again."""
    tracker = HeartbeatTracker(manager, 0.01, 1)
    tracker.track_connection(A, PID_A)
    tracker.halt()
    tracker.start()
    tracker.halt()
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == 1
    tracker.start()
    await until(lambda: manager.killed, "it judges again")
    await tracker.stop()


async def test_a_kill_that_hangs_hinders_nobody(manager: Manager, clock: Clock) -> None:
    """A check waits for it no longer than an interval, other children are judged, and stop() can be given up."""
    tracker = HeartbeatTracker(manager, 0.01, 3, clock=clock)
    manager.hanging.add(PID_A)
    tracker.track_connection(A, PID_A)
    for _ in range(4):
        clock.now += 0.01
        await tracker.check()
    tracker.track_connection(B, PID_B)
    for _ in range(4):
        clock.now += 0.01
        await tracker.check()
    assert manager.killed == [PID_A, PID_B]
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(tracker.stop(), 0.01)
    await asyncio.sleep(0)
    await tracker.stop()


@pytest.mark.parametrize("away", [1.75, 3.0, 3600.0])
async def test_who_was_away_judges_nobody(
    tracker: HeartbeatTracker, manager: Manager, clock: Clock, away: float
) -> None:
    """After a late check there is time to read. A connection that is silent then is killed as usual."""
    tracker.track_connection(A, PID_A)
    tracker.track_connection(B, PID_B)
    clock.now += 0.5
    await tracker.check()
    await check_for(tracker, clock, 2, A)
    clock.now += away
    assert await tracker.check() == ()
    tracker.record_heartbeat(A)
    await check_for(tracker, clock, 1, A)
    assert manager.killed == [PID_B]
    await check_for(tracker, clock, 3)
    assert manager.killed == [PID_B]
    await check_for(tracker, clock, 1)
    assert manager.killed == [PID_B, PID_A]


async def test_who_is_always_late_judges_at_last(tracker: HeartbeatTracker, manager: Manager, clock: Clock) -> None:
    """Each check counts as an interval, so lateness protects no connection for ever."""
    tracker.track_connection(A, PID_A)
    for _ in range(5):
        clock.now += 100
        await tracker.check()
    assert manager.killed == [PID_A]


async def test_what_was_heard_after_a_pause_counts_from_then(
    tracker: HeartbeatTracker, manager: Manager, clock: Clock
) -> None:
    """A sign of life that is read just before a late check gives no more time than one just after it."""
    tracker.track_connection(A, PID_A)
    tracker.track_connection(B, PID_B)
    clock.now += 1000
    tracker.record_heartbeat(A)
    await tracker.check()
    tracker.record_heartbeat(B)
    await check_for(tracker, clock, 3)
    assert manager.killed == []
    clock.now += 0.001
    assert await tracker.check() == (A, B)


async def test_what_was_not_read_is_not_silence(manager: Manager, clock: Clock) -> None:
    """The hook gets the suspects, if there are any. A child that it reads lives."""
    asked: list[list[ConnectionId]] = []

    def drain(suspects: Sequence[ConnectionId]) -> None:
        asked.append(list(suspects))
        judge.record_heartbeat(A)

    judge = HeartbeatTracker(manager, 1, 3, drain=drain, clock=clock)
    for conn, pid in zip(CONNS[:2], PIDS[:2], strict=True):
        judge.track_connection(conn, pid)
    await check_for(judge, clock, 4)
    assert asked == [[A, B]]
    assert manager.killed == [PID_B]


async def test_draining_may_take_its_time(manager: Manager, clock: Clock) -> None:
    """The hook may be a coroutine. A connection that becomes overdue meanwhile is judged the next time."""

    async def drain(suspects: Sequence[ConnectionId]) -> None:
        await asyncio.sleep(0)
        clock.now += 0.75

    tracker = HeartbeatTracker(manager, 1, 3, drain=drain, clock=clock)
    tracker.track_connection(A, PID_A)
    clock.now += 0.5
    tracker.track_connection(B, PID_B)
    clock.now += 0.5
    await tracker.check()
    await check_for(tracker, clock, 2)
    clock.now += 0.25
    await tracker.check()
    assert manager.killed == [PID_A]
    await tracker.check()
    assert manager.killed == [PID_A, PID_B]


async def test_what_has_arrived_is_read_before_judging(manager: Manager, clock: Clock) -> None:
    """A line that lies in a stream when the check begins is heard in time, without any hook."""
    tracker = HeartbeatTracker(manager, 1, 1, clock=clock)
    tracker.track_connection(A, PID_A)
    reader = asyncio.StreamReader()

    async def listen() -> None:
        while await reader.readline():
            tracker.record_heartbeat(A)

    listening = asyncio.ensure_future(listen())
    await asyncio.sleep(0)
    await check_for(tracker, clock, 1)
    clock.now += 0.5
    asyncio.get_running_loop().call_soon(reader.feed_data, b"heartbeat\n")
    await tracker.check()
    assert manager.killed == []
    reader.feed_eof()
    await listening


async def test_hooks_that_fail_change_nothing(manager: Manager, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """Their errors are logged; the silent are killed all the same."""

    def fail(*_: Any) -> None:
        raise RuntimeError("a hook's own fault")

    tracker = HeartbeatTracker(manager, 1, 3, on_expired=fail, drain=fail, clock=clock)
    for conn, pid in zip(CONNS, PIDS, strict=True):
        tracker.track_connection(conn, pid)
    await check_for(tracker, clock, 4)
    assert sorted(manager.killed) == PIDS
    assert len([record for record in caplog.records if record.exc_info]) == 1 + len(PIDS)


async def test_a_report_may_use_the_tracker(manager: Manager, clock: Clock) -> None:
    """on_expired may stop tracking others, who are alive still."""
    judge = HeartbeatTracker(manager, 1, 3, on_expired=lambda conn, pid: judge.remove(B), clock=clock)
    judge.track_connection(A, PID_A)
    judge.track_connection(B, PID_B)
    await check_for(judge, clock, 4, B)
    assert manager.killed == [PID_A]
    assert len(judge) == 0


async def test_it_checks_by_itself(manager: Manager, expired: list[tuple[ConnectionId, ProcessId]]) -> None:
    """Within its context, in real time: a child that sends heartbeats lives, and afterwards nothing runs."""
    before = asyncio.all_tasks()
    async with HeartbeatTracker(manager, 0.02, 5, on_expired=lambda *who: expired.append(who)) as tracker:
        tracker.track_connection(A, PID_A)
        tracker.track_connection(B, PID_B)
        tracker.start()
        deadline = time.monotonic() + 20
        while not manager.killed and time.monotonic() < deadline:
            tracker.record_heartbeat(B)
            await asyncio.sleep(0.005)
    assert manager.killed == [PID_A]
    assert expired == [(A, PID_A)]
    assert asyncio.all_tasks() == before


async def test_it_can_be_stopped_and_started(manager: Manager) -> None:
    """To stop what is stopped is no error; what was tracked still is."""
    tracker = HeartbeatTracker(manager, 0.01, 2)
    tracker.track_connection(A, PID_A)
    await tracker.stop()
    for _ in range(2):
        tracker.start()
        await tracker.stop()
        await tracker.stop()
    assert len(tracker) == 1


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf])
def test_bad_intervals(manager: Manager, value: float) -> None:
    """An interval is a positive number of seconds; the message names the argument."""
    with pytest.raises(ValueError, match=r"^check_interval must be a positive, finite number of seconds, not"):
        HeartbeatTracker(manager, value, 3)


@pytest.mark.parametrize("value", [0, -1])
def test_bad_numbers_of_intervals(manager: Manager, value: int) -> None:
    """At least one beat may be missed; the message names the argument."""
    with pytest.raises(ValueError, match=r"^allowed_missed_intervals must be a whole number of at least 1, not"):
        HeartbeatTracker(manager, 1, value)


@pytest.mark.parametrize("value", ["1", None, True, 1j])
def test_what_is_no_number(manager: Manager, value: Any) -> None:
    """What cannot be an interval, or a number of them, is refused by name."""
    with pytest.raises(TypeError, match=r"^check_interval"):
        HeartbeatTracker(manager, value, 3)
    with pytest.raises(TypeError, match=r"^allowed_missed_intervals"):
        HeartbeatTracker(manager, 1, value)
    with pytest.raises(TypeError, match=r"^allowed_missed_intervals"):
        HeartbeatTracker(manager, 1, 1.5)  # type: ignore[arg-type]
