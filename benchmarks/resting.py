"""Lines 9 to 11: what is held and burnt while nothing happens, and what a heartbeat costs."""

from __future__ import annotations

import asyncio
import gc
import os
import tracemalloc
from pathlib import Path

from treeguard import LocalProcessManager, SpawnParams

from . import heartbeat
from .build import Built
from .contenders import managers
from .samples import Result

__all__ = ["beats", "idle", "memory"]


def _children() -> list[int]:
    return [int(pid) for pid in Path("/proc/thread-self/children").read_text(encoding="ascii").split()]


def _kib(pid: int) -> tuple[float, float]:
    """Private and shared memory of a process, without what the kernel keeps for it."""
    private = shared = 0
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
        name, _, rest = line.partition(":")
        if name in ("Private_Clean", "Private_Dirty"):
            private += int(rest.split()[0])
        elif name in ("Shared_Clean", "Shared_Dirty"):
            shared += int(rest.split()[0])
    return float(private), float(shared)


async def memory(built: Built, trees: int) -> list[Result]:
    """A guard, a live tree in Python, a manager."""
    line, results = "9 memory", []
    waiting = SpawnParams(program=built.target, args=("wide", "1"), stdout="null")
    before = set(_children())
    async with managers(built.target) as ours:
        for name, each in ours.items():
            tracemalloc.start()
            await each.life()
            gc.collect()
            at_first = tracemalloc.get_traced_memory()[0]
            children = [await each.manager.spawn_child(waiting) for _ in range(trees)]
            gc.collect()
            held = (tracemalloc.get_traced_memory()[0] - at_first) / trees / 1024
            tracemalloc.stop()
            results.append(Result(line, f"tree in Python, {name}", "KiB", [held]))
            if name != "process_group":
                private, shared = zip(*map(_kib, set(_children()) - before), strict=True)
                results.append(Result(line, f"guard, private, {name}", "KiB", list(private)))
                results.append(Result(line, f"guard, shared, {name}", "KiB", list(shared)))
            for child in children:
                await each.manager.kill_tree(child.pid)
                await each.manager.wait_for_exit(child.pid)
        tracemalloc.start()
        async with LocalProcessManager(containment=next(iter(ours))):
            gc.collect()
            results.append(Result(line, "manager", "KiB", [tracemalloc.get_traced_memory()[0] / 1024]))
        tracemalloc.stop()
    return results


async def beats() -> list[Result]:
    """Heartbeats and authorizations."""
    line, (heard, _) = "10 a second", await heartbeat.measure(1_000)
    return [
        Result(line, "heartbeats", "/s", [1e6 / heard]),
        Result(line, "authorizations, no quotas", "/s", [heartbeat.authorizations(heartbeat.PLAIN)]),
        Result(line, "authorizations, two quotas", "/s", [heartbeat.authorizations(heartbeat.METERED)]),
    ]


def _run_time(pid: int) -> int:
    """Nanoseconds on a processor (schedstat), all threads included for a process with one."""
    return int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[0])


async def idle(built: Built, trees: int, seconds: float) -> list[Result]:
    """What guards and supervisor burn while so many trees rest."""
    results = []
    async with managers(built.target) as ours:
        for name, each in ours.items():
            before = set(_children())
            reader, writer = os.pipe2(os.O_CLOEXEC)
            waiting = SpawnParams(program=built.target, args=("stay",), stdin=reader)
            children = [await each.manager.spawn_child(waiting) for _ in range(trees)]
            await asyncio.sleep(0.5)
            pids = [os.getpid(), *(set(_children()) - before)]
            # Files are read before and after; what that takes is the reader's own, and is not counted.
            at_first = [_run_time(pid) for pid in pids[1:]]
            loop = asyncio.get_running_loop()
            own = _run_time(pids[0])
            begun = loop.time()
            await asyncio.sleep(seconds)
            own = _run_time(pids[0]) - own
            slept = loop.time() - begun
            burnt = sum(_run_time(pid) for pid in pids[1:]) - sum(at_first)
            note = f"in {slept:.0f} s; the supervisor's one wake-up {own / 1e6:.2f} ms"
            results.append(Result(f"11 idle, {trees:,} trees", name, "ms", [burnt / 1e6], note=note))
            os.close(reader)
            os.close(writer)
            for child in children:
                await each.manager.wait_for_exit(child.pid)
    return results
