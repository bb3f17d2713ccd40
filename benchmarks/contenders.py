"""The libraries that are compared. Each starts the target and waits for its end, as its users would."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import ModuleType
from typing import Protocol

from treeguard import ContainmentUnavailable, LocalProcessManager, SpawnParams
from treeguard._core.cgroup.cgroups import own_cgroup
from treeguard.types import Mechanism

__all__ = [
    "ASYNCIO",
    "MECHANISMS",
    "External",
    "Guarded",
    "Sampler",
    "TreeRecord",
    "environment",
    "library",
    "lives",
    "managers",
    "timed",
    "writable_cgroup",
]

ASYNCIO = "asyncio"
MECHANISMS: tuple[Mechanism, ...] = ("cgroup", "subreaper", "process_group")

TreeRecord = Callable[[], Awaitable[None]]


class Sampler(Protocol):
    """Takes samples, in microseconds."""

    async def __call__(self, count: int) -> list[float]:
        """Takes ``count``."""


def library(name: str) -> ModuleType | None:
    """A peer that is compared where it is installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def timed(life: TreeRecord) -> Sampler:
    """Samples of a life: how long each takes."""

    async def sample(count: int) -> list[float]:
        taken = []
        for _ in range(count):
            start = time.perf_counter()
            await life()
            taken.append((time.perf_counter() - start) * 1e6)
        return taken

    return sample


class Guarded:
    """A manager and the target on it."""

    def __init__(self, manager: LocalProcessManager, target: str) -> None:
        self.manager = manager
        self.params = SpawnParams(program=target)

    async def life(self) -> None:
        """Spawned, and waited for until its tree is empty."""
        child = await self.manager.spawn_child(self.params)
        await self.manager.wait_for_exit(child.pid)


@contextlib.asynccontextmanager
async def managers(target: str) -> AsyncIterator[dict[Mechanism, Guarded]]:
    """A manager for each mechanism that this host gives."""
    async with contextlib.AsyncExitStack() as stack:
        found: dict[Mechanism, Guarded] = {}
        for mechanism in MECHANISMS:
            with contextlib.suppress(ContainmentUnavailable):
                manager = await stack.enter_async_context(LocalProcessManager(containment=mechanism))
                found[mechanism] = Guarded(manager, target)
        yield found


def lives(target: str) -> dict[str, TreeRecord]:
    """The peers of Python, by name."""

    async def by_subprocess() -> None:
        # Blocks its thread, so it is not what an event loop would use; it is the price without one.
        subprocess.Popen([target], stdin=subprocess.DEVNULL).wait()

    async def by_asyncio() -> None:
        await (await asyncio.create_subprocess_exec(target, stdin=subprocess.DEVNULL)).wait()

    found: dict[str, TreeRecord] = {"subprocess": by_subprocess, ASYNCIO: by_asyncio}
    anyio = library("anyio")
    if anyio is not None:

        async def by_anyio() -> None:
            streams = {"stdin": subprocess.DEVNULL, "stdout": None, "stderr": None}
            async with await anyio.open_process([target], **streams) as process:
                await process.wait()

        found["anyio"] = by_anyio
    processkit = library("processkit")
    if processkit is not None:
        command = processkit.Command(target)

        async def by_processkit() -> None:
            await command.aexit_code()

        found["processkit-py"] = by_processkit
    return found


def writable_cgroup() -> Path | None:
    """Where this process may make cgroups, if it may."""
    try:
        found = own_cgroup()
    except OSError:
        return None
    return found if os.access(found / "cgroup.procs", os.W_OK) else None


class External:
    """A program that takes samples when it is told to by a line on its standard input."""

    def __init__(self, *command: str, column: int = 0) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._column = column

    async def __call__(self, count: int) -> list[float]:
        """Waits for them: nothing else is to run meanwhile."""
        pipe, out = self._process.stdin, self._process.stdout
        assert pipe is not None
        assert out is not None
        pipe.write(f"{count}\n")
        pipe.flush()
        return [float(out.readline().split()[self._column]) for _ in range(count)]

    def close(self) -> None:
        """Its end of input ends it."""
        self._process.communicate()


def environment(size: int) -> dict[str, str]:
    """An environment of that many variables, with what a program needs."""
    return {"PATH": os.environ.get("PATH", os.defpath), **{f"VARIABLE_{i}": "value " * 4 for i in range(size - 1)}}
