"""Lines 12 to 15: commands with their output, beside the standard library."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import treeguard
from treeguard import ContainmentUnavailable
from treeguard import subprocess as ours

from .contenders import MECHANISMS, Sampler
from .samples import Result, in_turn

__all__ = ["STANDARD", "lines_read", "run", "streaming", "through_pipes"]

#: The yardstick.
STANDARD = "standard library"
#: How many trees stream at once, and how often the loop's delay is looked at, in seconds.
_TREES, _LOOK = 200, 0.002
_CHUNK, _LINES = 1 << 16, 10_000


def _blocking(call: Callable[[], object], scale: float) -> Sampler:
    async def sample(count: int) -> list[float]:
        taken = []
        for _ in range(count):
            begun = time.perf_counter()
            call()
            taken.append((time.perf_counter() - begun) * scale)
        return taken

    return sample


def _awaited(call: Callable[[], Awaitable[object]], scale: float) -> Sampler:
    async def sample(count: int) -> list[float]:
        taken = []
        for _ in range(count):
            begun = time.perf_counter()
            await call()
            taken.append((time.perf_counter() - begun) * scale)
        return taken

    return sample


async def run(rounds: int) -> list[Result]:
    """``run(["true"])``, which blocks: each life is that of a program with a libc, found in ``PATH``."""
    samplers: dict[str, Sampler] = {STANDARD: _blocking(lambda: subprocess.run(["true"], check=True), 1e6)}
    for mechanism in MECHANISMS:
        with contextlib.suppress(ContainmentUnavailable):
            treeguard.run(["true"], containment=mechanism)
            samplers[mechanism] = _blocking(partial(treeguard.run, ["true"], containment=mechanism), 1e6)
    return _results("12 run true", "µs", await in_turn(samplers, rounds=rounds, each=25))


def _results(line: str, unit: str, values: dict[str, list[float]]) -> list[Result]:
    return [Result(line, name, unit, taken, STANDARD) for name, taken in values.items()]


async def through_pipes(size: int, rounds: int) -> list[Result]:
    """So many bytes from a command, and to one."""
    data = bytes(size)
    out, into = ["head", "-c", str(size), "/dev/zero"], ["cat"]

    def communicate(popen: Any) -> None:
        with popen(out, stdout=subprocess.PIPE) as process:
            process.communicate()

    def feed(popen: Any) -> None:
        with popen(into, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
            process.communicate(data)

    async def read(create: Any) -> None:
        process = await create(*out, stdout=subprocess.PIPE)
        while await process.stdout.read(_CHUNK):
            pass
        await process.wait()

    async def write(create: Any) -> None:
        process = await create(*into, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        for start in range(0, size, _CHUNK):
            process.stdin.write(data[start : start + _CHUNK])
            await process.stdin.drain()
        process.stdin.close()
        await process.wait()

    theirs_asyncio, ours_asyncio = asyncio.create_subprocess_exec, treeguard.create_subprocess_exec
    pairs: dict[str, tuple[Sampler, Sampler]] = {
        "run, output": _both(lambda each: each(out, capture_output=True), subprocess.run, ours.run),
        "run, input": _both(lambda each: each(into, input=data, stdout=subprocess.DEVNULL), subprocess.run, ours.run),
        "communicate, output": _both(communicate, subprocess.Popen, ours.Popen),
        "communicate, input": _both(feed, subprocess.Popen, ours.Popen),
        "StreamReader": _both_awaited(read, theirs_asyncio, ours_asyncio),
        "StreamWriter": _both_awaited(write, theirs_asyncio, ours_asyncio),
    }
    results = []
    for name, (theirs, own) in pairs.items():
        values = await in_turn({STANDARD: theirs, "treeguard": own}, rounds=rounds, each=1)
        results += _results(f"13 {size >> 20} MiB, {name}", "ms", values)
    return results


def _both(call: Callable[[Any], object], theirs: Any, own: Any) -> tuple[Sampler, Sampler]:
    return _blocking(lambda: call(theirs), 1e3), _blocking(lambda: call(own), 1e3)


def _both_awaited(call: Callable[[Any], Awaitable[object]], theirs: Any, own: Any) -> tuple[Sampler, Sampler]:
    return _awaited(lambda: call(theirs), 1e3), _awaited(lambda: call(own), 1e3)


async def lines_read(rounds: int) -> list[Result]:
    """10,000 short lines of one command, from its start to its end, or for asyncio to the last line."""
    command = ["seq", str(_LINES)]

    def read(popen: Any) -> None:
        with popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert sum(1 for _ in process.stdout) == _LINES

    own_popen = partial(ours.Popen, containment="process_group")

    def by_asyncio(create: Any) -> Sampler:
        async def sample(count: int) -> list[float]:
            taken = []
            for _ in range(count):
                process = await create(*command, stdout=subprocess.PIPE)
                begun, lines = time.perf_counter(), 0
                async for _ in process.stdout:
                    lines += 1
                taken.append((time.perf_counter() - begun) * 1e3)
                assert lines == _LINES
                await process.wait()
            return taken

        return sample

    pairs = {
        "Popen": _both(read, subprocess.Popen, own_popen),
        "StreamReader": (by_asyncio(asyncio.create_subprocess_exec), by_asyncio(treeguard.create_subprocess_exec)),
    }
    results = []
    for name, (theirs, own) in pairs.items():
        values = await in_turn({STANDARD: theirs, "treeguard": own}, rounds=rounds, each=5)
        results += _results(f"14 10,000 lines, {name}", "ms", values)
    return results


async def streaming(target: str, rounds: int) -> list[Result]:
    """How late the loop is while many trees write a line every 10 ms, which are read: the worst of a second."""
    contenders = {STANDARD: asyncio.create_subprocess_exec, "treeguard": treeguard.create_subprocess_exec}
    values: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, create in contenders.items():
            values[name].append(await _worst_delay(target, create))
    return _results(f"15 delay, {_TREES} stream", "ms", values)


async def _worst_delay(target: str, create: Any) -> float:
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    processes = [await create(target, "print", "100", **options) for _ in range(_TREES)]
    late: list[float] = []

    async def read(process: Any) -> None:
        async for _ in process.stdout:
            pass

    async def look() -> None:
        while True:
            begun = time.perf_counter()
            await asyncio.sleep(_LOOK)
            late.append((time.perf_counter() - begun - _LOOK) * 1e3)

    for process in processes:
        process.stdin.write(b"\n")
    looking = asyncio.create_task(look())
    await asyncio.gather(*map(read, processes))
    looking.cancel()
    for process in processes:
        await process.wait()
    return max(late)
