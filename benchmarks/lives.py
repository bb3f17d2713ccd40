"""Lines 1 to 5: whole lives and starts."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
import subprocess
import time
from collections.abc import AsyncIterator, Iterator

from treeguard import ChildHandle, SpawnParams
from treeguard._core.native import GUARD

from .build import Built
from .contenders import (
    ASYNCIO,
    External,
    Guarded,
    Sampler,
    TreeRecord,
    environment,
    lives,
    managers,
    timed,
    writable_cgroup,
)
from .samples import Result, in_turn

__all__ = ["concurrent", "crowd", "sequential", "start", "supervisors"]

_MIB = 1 << 20


@contextlib.contextmanager
def _externals(built: Built) -> Iterator[dict[str, External]]:
    """The floor in C, and Rust."""
    commands = {
        "C: vfork, exec, wait": (built.floor, built.target, "vfork"),
        "C: guard and root": (built.floor, built.target, "guard", GUARD),
        "C: root in a group": (built.floor, built.target, "group"),
    }
    cgroup = writable_cgroup()
    if cgroup is not None:
        commands["C: guard and root in a leaf"] = (built.floor, built.target, "guard", GUARD, str(cgroup))
    if built.peer is not None:
        commands["tokio, group"] = (built.peer, built.target, "group")
        commands["tokio, group, death signal"] = (built.peer, built.target, "death")
    found = {name: External(*command) for name, command in commands.items()}
    try:
        yield found
    finally:
        for external in found.values():
            external.close()


def _results(line: str, values: dict[str, list[float]], note: str = "") -> list[Result]:
    return [Result(line, name, "µs", taken, ASYNCIO, note) for name, taken in values.items()]


async def sequential(built: Built, rounds: int) -> list[Result]:
    """Whole lives, one after another."""
    async with managers(built.target) as ours:
        with _externals(built) as externals:
            samplers: dict[str, Sampler] = dict(externals)
            samplers |= {name: timed(life) for name, life in lives(built.target).items()}
            samplers |= {name: timed(each.life) for name, each in ours.items()}
            return _results("1 life, alone", await in_turn(samplers, rounds=rounds, each=25))


def _together(life: TreeRecord, width: int) -> Sampler:
    """Samples of lives side by side: the time of all, a life."""

    async def sample(count: int) -> list[float]:
        taken = []
        for _ in range(count):
            start = time.perf_counter()
            await asyncio.gather(*(life() for _ in range(width)))
            taken.append((time.perf_counter() - start) / width * 1e6)
        return taken

    return sample


async def concurrent(built: Built, rounds: int) -> list[Result]:
    """The same, 50 at a time."""
    async with managers(built.target) as ours:
        all_lives = {name: life for name, life in lives(built.target).items() if name != "subprocess"}
        all_lives |= {name: each.life for name, each in ours.items()}
        samplers = {name: _together(life, 50) for name, life in all_lives.items()}
        return _results("2 life, 50 at a time", await in_turn(samplers, rounds=rounds, each=1))


async def start(built: Built, rounds: int) -> list[Result]:
    """From the call until the root runs its program, alone; its end is waited for, but not counted."""
    target = built.target

    async def by_asyncio(count: int) -> list[float]:
        taken = []
        for _ in range(count):
            begun = time.perf_counter()
            process = await asyncio.create_subprocess_exec(target, stdin=subprocess.DEVNULL)
            taken.append((time.perf_counter() - begun) * 1e6)
            await process.wait()
        return taken

    async def by_subprocess(count: int) -> list[float]:
        taken = []
        for _ in range(count):
            begun = time.perf_counter()
            process = subprocess.Popen([target], stdin=subprocess.DEVNULL)
            taken.append((time.perf_counter() - begun) * 1e6)
            process.wait()
        return taken

    def by(ours: Guarded) -> Sampler:
        async def sample(count: int) -> list[float]:
            taken = []
            for _ in range(count):
                begun = time.perf_counter()
                child = await ours.manager.spawn_child(ours.params)
                taken.append((time.perf_counter() - begun) * 1e6)
                await ours.manager.wait_for_exit(child.pid)
            return taken

        return sample

    floor = External(built.floor, target, "vfork", column=1)
    try:
        async with managers(target) as ours:
            samplers: dict[str, Sampler] = {"C: vfork, exec": floor, "subprocess": by_subprocess, ASYNCIO: by_asyncio}
            samplers |= {name: by(each) for name, each in ours.items()}
            return _results("3 start, alone", await in_turn(samplers, rounds=rounds, each=20))
    finally:
        floor.close()


@contextlib.contextmanager
def _supervisor(mib: int, fds: int, variables: int) -> Iterator[str]:
    """Makes this process one that holds so much. Yields its description."""
    before = dict(os.environ)
    held = bytearray(mib * _MIB)
    held[:: resource.getpagesize()] = b"x" * len(held[:: resource.getpagesize()])
    opened = [os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC) for _ in range(fds - 1)]
    os.environ.clear()
    os.environ.update(environment(variables))
    try:
        yield f"{mib} MiB, {fds} fds, {variables} variables"
    finally:
        os.environ.clear()
        os.environ.update(before)
        for fd in opened:
            os.close(fd)


async def supervisors(built: Built, rounds: int) -> list[Result]:
    """Lives, by what the supervisor holds."""
    shapes = [(mib, fds, variables) for mib in (16, 256, 1024) for fds in (1, 200) for variables in (10, 2000)]
    values: dict[tuple[str, str], list[float]] = {}
    async with managers(built.target) as ours:
        all_lives = {ASYNCIO: lives(built.target)[ASYNCIO]} | {name: each.life for name, each in ours.items()}
        for _ in range(rounds):
            for shape in shapes:
                with _supervisor(*shape) as description:
                    for name, life in all_lives.items():
                        await life()
                        values.setdefault((description, name), []).extend(await timed(life)(20))
    return [Result(f"4 {shape}", name, "µs", taken, ASYNCIO) for (shape, name), taken in values.items()]


@contextlib.asynccontextmanager
async def _many_descriptors() -> AsyncIterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def crowd(built: Built, counts: tuple[int, ...], each: int) -> list[Result]:
    """Lives beside so many trees that are alive. The first count is measured again at the end: what is even then."""
    results: list[Result] = []
    async with _many_descriptors(), managers(built.target) as ours:
        for name, guarded in ours.items():
            values: dict[int, list[float]] = {}
            reader, writer = os.pipe2(os.O_CLOEXEC)
            waiting = SpawnParams(program=built.target, args=("stay",), stdin=reader)
            alive: list[ChildHandle] = []
            for count in counts:
                while len(alive) < count:
                    alive.append(await guarded.manager.spawn_child(waiting))
                values[count] = await timed(guarded.life)(each)
            os.close(writer)
            os.close(reader)
            for child in alive[counts[0] :]:
                await guarded.manager.wait_for_exit(child.pid)
            values[counts[0]] += await timed(guarded.life)(each)
            gc.collect()
            yardstick = f"{name}, {counts[0]}"
            results += [
                Result("5 life, beside trees", f"{name}, {n}", "µs", taken, yardstick) for n, taken in values.items()
            ]
    return results
