"""What a heartbeat, a check that finds nothing, and an authorization cost: ``python -m benchmarks.heartbeat``."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import Callable
from typing import cast

from treeguard import CapabilitySet, ConnectionId, HeartbeatTracker, ProcessId, ProcessManager
from treeguard.capability import MethodRule, MethodSelector, QuotaSet

#: Of several runs the best counts, in CPU time: the others tell what else the machine had to do.
RUNS = 7
BEATS = 100_000
CHECKS = 2_000
CALLS = 50_000

_GET = MethodSelector.exact("get")
#: A rule that allows alone, and one that measures bytes and calls.
PLAIN = MethodRule(_GET)
METERED = MethodRule(_GET, QuotaSet(bytes_per_sec=1e12, ops_per_sec=1e9))


class NobodyDies:
    """A manager of whom nothing must be asked."""

    async def kill_tree(self, pid: ProcessId) -> None:
        """Is not called."""
        raise AssertionError(f"{pid} was killed")


def best(work: Callable[[], float]) -> float:
    """The shortest of several times, in seconds."""
    return min(work() for _ in range(RUNS))


async def measure(connections: int) -> tuple[float, float]:
    """Microseconds for a heartbeat, in random order, and for a check with nothing expired."""
    tracker = HeartbeatTracker(cast(ProcessManager, NobodyDies()), 3600, 3)
    conns = [ConnectionId(uuid.uuid4()) for _ in range(connections)]
    for conn in conns:
        tracker.track_connection(conn, ProcessId(uuid.uuid4()))
    # As they come from a wire: equal, not the same objects.
    beats = [ConnectionId(uuid.UUID(int=random.choice(conns).int)) for _ in range(BEATS)]

    def beat() -> float:
        start = time.thread_time()
        for conn in beats:
            tracker.record_heartbeat(conn)
        return (time.thread_time() - start) / BEATS

    async def check() -> float:
        start = time.thread_time()
        for _ in range(CHECKS):
            await tracker.check()
        return (time.thread_time() - start) / CHECKS

    return best(beat) * 1e6, min([await check() for _ in range(RUNS)]) * 1e6


def authorizations(rule: MethodRule) -> float:
    """How many a second, in a service of several rules."""
    others = [MethodRule(MethodSelector.exact(f"other{i}")) for i in range(4)]
    meter = CapabilitySet({"storage": (*others, rule)}).meter()

    def call() -> float:
        start = time.thread_time()
        for _ in range(CALLS):
            meter.authorize("storage", "get", 100)
        return time.thread_time() - start

    return CALLS / best(call)


def main() -> None:
    """Prints the figures."""
    for connections in (1_000, 100_000):
        heartbeat, check = asyncio.run(measure(connections))
        print(f"{connections:>7,} connections: heartbeat {heartbeat:.2f} µs, idle check {check:.1f} µs")
    print(f"authorizations per second: {authorizations(PLAIN):,.0f} without quotas")
    print(f"authorizations per second: {authorizations(METERED):,.0f} with both quotas")


if __name__ == "__main__":
    main()
