"""Lines 6 to 8: ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator

from treeguard import ChildHandle, LocalProcessManager, SpawnParams
from treeguard.types import Mechanism

from .build import Built
from .contenders import External, Guarded, library, managers, writable_cgroup
from .samples import Result

__all__ = ["at_once", "kills", "orphaned"]


def _read_exactly(fd: int, count: int) -> None:
    while count > 0:
        got = len(os.read(fd, count))
        assert got, "a process of the tree has ended early"
        count -= got


async def at_once(built: Built, roots: int, rounds: int) -> list[Result]:
    """So many roots end at once: until everybody who waits for one has been told."""
    results = []

    async def measure(begin: Callable[[int], Awaitable[Callable[[], Awaitable[object]]]]) -> list[float]:
        taken = []
        for _ in range(rounds):
            reader, writer = os.pipe2(os.O_CLOEXEC)
            waits = [await begin(reader) for _ in range(roots)]
            os.close(reader)
            waiting = [asyncio.ensure_future(wait()) for wait in waits]
            await asyncio.sleep(0)
            start = time.perf_counter()
            os.close(writer)
            await asyncio.gather(*waiting)
            taken.append((time.perf_counter() - start) * 1e3)
        return taken

    async def by_asyncio(reader: int) -> Callable[[], Awaitable[object]]:
        return (await asyncio.create_subprocess_exec(built.target, "stay", stdin=reader)).wait

    line = f"6 {roots:,} roots end at once"
    results.append(Result(line, "asyncio", "ms", await measure(by_asyncio), "asyncio"))
    async with managers(built.target) as ours:
        for name, each in ours.items():

            async def by_us(
                reader: int, manager: LocalProcessManager = each.manager
            ) -> Callable[[], Awaitable[object]]:
                child = await manager.spawn_child(SpawnParams(program=built.target, args=("stay",), stdin=reader))
                return lambda: manager.wait_for_exit(child.pid)

            results.append(Result(line, name, "ms", await measure(by_us), "asyncio"))
    return results


async def _tree(ours: Guarded, target: str, shape: str, size: int) -> ChildHandle:
    """A tree of that many processes, all of which are up."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        params = SpawnParams(program=target, args=(shape, str(size)), stdout=writer)
        child = await ours.manager.spawn_child(params)
        os.close(writer)
        _read_exactly(reader, size)
    finally:
        os.close(reader)
    return child


def _by_psutil(target: str, shape: str, size: int) -> float:
    """What its documentation recommends: look for the children, kill each, wait."""
    psutil = library("psutil")
    assert psutil is not None
    with subprocess.Popen([target, shape, str(size)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        _read_exactly(process.stdout.fileno(), size)
        start = time.perf_counter()
        root = psutil.Process(process.pid)
        members = [*root.children(recursive=True), root]
        for member in members:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        psutil.wait_procs(members)
        process.wait()
        return (time.perf_counter() - start) * 1e6


@contextlib.contextmanager
def _floor(built: Built, shape: str, size: int) -> Iterator[External | None]:
    cgroup = writable_cgroup()
    if cgroup is None:
        yield None
        return
    external = External(built.floor, built.target, "kill", str(cgroup), shape, str(size))
    try:
        yield external
    finally:
        external.close()


async def kills(built: Built, sizes: tuple[int, ...], rounds: int) -> list[Result]:
    """From the kill until nothing is left."""
    results = []
    async with managers(built.target) as ours:
        for shape in ("wide", "deep", "lost"):
            for size in sizes:
                with _floor(built, shape, size) as floor:
                    values: dict[str, list[float]] = {}
                    for number in range(rounds):
                        if floor is not None:
                            values.setdefault("C: cgroup.kill, reap", []).extend(await floor(1))
                        for name, each in ours.items():
                            if shape == "lost" and not each.manager.containment.contains_escapees:
                                continue
                            child = await _tree(each, built.target, shape, size)
                            start = time.perf_counter()
                            await each.manager.kill_tree(child.pid)
                            await each.manager.wait_for_exit(child.pid)
                            values.setdefault(name, []).append((time.perf_counter() - start) * 1e6)
                        # Each takes seconds where init is late in reaping what psutil leaves to it: a third will do.
                        if number % 3 == 0 and shape != "lost" and library("psutil") is not None:
                            values.setdefault("psutil", []).append(_by_psutil(built.target, shape, size))
                line = f"7 kill, {shape}, {size:,}"
                yardstick = "C: cgroup.kill, reap"
                results += [Result(line, name, "µs", taken, yardstick) for name, taken in values.items()]
    return results


def _orphan(built: Built, mechanism: Mechanism, trees: int, size: int) -> float:
    """Milliseconds from the SIGKILL of a supervisor until nobody holds the pipe that all members of its trees hold."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    words = [sys.executable, "-m", "benchmarks.supervised", mechanism, built.target, str(trees), str(size), str(writer)]
    with subprocess.Popen(words, pass_fds=[writer], stdin=subprocess.DEVNULL) as process:
        os.close(writer)
        _read_exactly(reader, trees * size)
        start = time.perf_counter()
        process.send_signal(signal.SIGKILL)
        assert os.read(reader, 1) == b""
        taken = (time.perf_counter() - start) * 1e3
    os.close(reader)
    return taken


async def orphaned(built: Built, rounds: int) -> list[Result]:
    """SIGKILL of the supervisor until its trees are gone; ``process_group`` promises no such thing."""
    results = []
    for trees, size in ((1, 100), (100, 10)):
        for mechanism in ("cgroup", "subreaper"):
            taken = [_orphan(built, mechanism, trees, size) for _ in range(rounds)]
            results.append(Result(f"8 supervisor killed, {trees} x {size}", mechanism, "ms", taken))
    return results
