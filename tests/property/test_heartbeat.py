"""Heartbeats against a model, on a clock that is set or virtual: silent children are killed, and no others."""

import asyncio
import random
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from treeguard import ConnectionId, HeartbeatTracker, ProcessId
from treeguard.errors import UnknownConnection

from .managers import NeverSpawning
from .virtual_clock import VirtualLoop, run

CONNS = [ConnectionId(UUID(int=100 + i)) for i in range(3)]
PIDS = [ProcessId(UUID(int=200 + i)) for i in range(3)]
PID_OF = dict(zip(CONNS, PIDS, strict=True))


class Manager(NeverSpawning):
    """Remembers whom it was to kill."""

    def __init__(self) -> None:
        self.killed: list[ProcessId] = []

    async def kill_tree(self, pid: ProcessId) -> None:
        self.killed.append(pid)


class Model:
    """The same by brute force: for each connection a sum of the time that counts as its silence."""

    def __init__(self, allowed: int) -> None:
        self.allowed = allowed
        self.silent: dict[ConnectionId, float] = {}
        self.uncounted = 1.0
        self.since = 0.0
        self.excused = False

    def pass_time(self, seconds: float) -> None:
        counts = min(seconds, self.uncounted)
        self.uncounted -= counts
        self.since += seconds
        for conn in self.silent:
            self.silent[conn] += counts

    def check(self) -> set[ConnectionId]:
        self.excused = self.since > 1.5 and not self.excused
        self.uncounted, self.since = 1.0, 0.0
        dead = set() if self.excused else {conn for conn, silent in self.silent.items() if silent > self.allowed}
        for conn in dead:
            del self.silent[conn]
        return dead


#: Whole 1/8 s, so that no sum is rounded; few calls that take long.
STEPS = st.lists(
    st.tuples(st.sampled_from(["track", "beat", "remove"]), st.sampled_from(CONNS))
    | st.tuples(st.sampled_from(["wait", "check", "check"]), st.sampled_from([0, 4, 8, 8, 12, 13, 100])),
    min_size=12,
    max_size=120,
)


@settings(max_examples=300)
@given(st.integers(1, 4), STEPS)
def test_it_does_what_the_model_does(allowed: int, steps: list[tuple[str, ConnectionId | int]]) -> None:
    """Whatever is tracked, heard, removed and checked when: the same connections expire at the same checks."""

    async def follow() -> None:
        now = [0.0]
        manager, model = Manager(), Model(allowed)
        reported: list[ProcessId] = []
        tracker = HeartbeatTracker(
            manager, 1, allowed, on_expired=lambda conn, pid: reported.append(pid), clock=lambda: now[0]
        )
        for what, on in steps:
            if isinstance(on, UUID):
                step(tracker, model, what, ConnectionId(on))
                continue
            now[0] += on / 8
            model.pass_time(on / 8)
            if what == "check":
                expired = await tracker.check()
                assert set(expired) == model.check()
                assert len(set(expired)) == len(expired)
                assert manager.killed[len(manager.killed) - len(expired) :] == [PID_OF[conn] for conn in expired]
            assert len(tracker) == len(model.silent)
            assert manager.killed == reported

    run(follow())


def step(tracker: HeartbeatTracker, model: Model, what: str, conn: ConnectionId) -> None:
    known = conn in model.silent
    try:
        if what == "track":
            tracker.track_connection(conn, PID_OF[conn])
        elif what == "beat":
            tracker.record_heartbeat(conn)
        else:
            tracker.remove(conn)
    except UnknownConnection:
        assert not known
        assert what != "track"
        return
    assert known or what == "track"
    if what == "remove":
        del model.silent[conn]
    else:
        model.silent[conn] = 0.0


BLOCKS = st.lists(st.tuples(st.floats(0, 10), st.floats(0, 60)), max_size=12)


@given(st.integers(1, 4), st.floats(0.05, 0.9), st.booleans(), BLOCKS)
def test_nobody_who_beats_is_killed(
    allowed: int, period: float, streamed: bool, blocks: list[tuple[float, float]]
) -> None:
    """However long and often the loop is blocked, or the machine suspended, while heartbeats lie unread.

    They are read when the loop gets to it, directly or three turns later, as from a stream.
    """

    async def supervise() -> list[ProcessId]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        manager = Manager()

        async def listen() -> None:
            written = period
            while True:
                await asyncio.sleep(max(0, written - loop.now))
                for _ in range(3 if streamed else 0):
                    await asyncio.sleep(0)
                if written <= loop.now:
                    tracker.record_heartbeat(CONNS[0])
                while written <= loop.now:
                    written += period

        async with HeartbeatTracker(manager, 1, allowed, clock=loop.time) as tracker:
            tracker.track_connection(CONNS[0], PIDS[0])
            listening = asyncio.ensure_future(listen())
            for pause, block in blocks:
                await asyncio.sleep(pause)
                loop.now += block
            await asyncio.sleep(10)
            listening.cancel()
        return manager.killed

    killed, _ = run(supervise())
    assert killed == []


@given(st.integers(1, 5), st.floats(0, 3), st.floats(0.1, 30))
def test_the_silent_are_killed_in_time(allowed: int, tracked_at: float, lasts: float) -> None:
    """After what is allowed, and within one more interval."""

    async def supervise() -> tuple[float, float]:
        loop = asyncio.get_running_loop()
        manager = Manager()
        died = loop.create_future()
        async with HeartbeatTracker(
            manager, 1, allowed, clock=loop.time, on_expired=lambda conn, pid: died.set_result(loop.time())
        ) as tracker:
            await asyncio.sleep(tracked_at)
            tracker.track_connection(CONNS[0], PIDS[0])
            last = loop.time()
            end = last + lasts
            while loop.time() < end:
                tracker.record_heartbeat(CONNS[0])
                last = loop.time()
                await asyncio.sleep(0.3)
            return last, await died

    (last, at), _ = run(supervise())
    assert allowed - 1e-6 < at - last <= allowed + 1 + 1e-6


def test_thousands_die_together() -> None:
    """All of many at once, each once, while those who beat live on."""

    async def supervise() -> tuple[list[ProcessId], set[ProcessId]]:
        loop = asyncio.get_running_loop()
        manager = Manager()
        children = {ConnectionId(UUID(int=i)): ProcessId(UUID(int=10**6 + i)) for i in range(5000)}
        beating = random.Random(1).sample(list(children), 2000)
        async with HeartbeatTracker(manager, 1, 3, clock=loop.time) as tracker:
            for conn, pid in children.items():
                tracker.track_connection(conn, pid)
            for _ in range(10):
                await asyncio.sleep(0.7)
                for conn in beating:
                    tracker.record_heartbeat(conn)
        return manager.killed, set(children.values()) - {children[conn] for conn in beating}

    (killed, silent), _ = run(supervise())
    assert len(killed) == len(silent)
    assert set(killed) == silent
