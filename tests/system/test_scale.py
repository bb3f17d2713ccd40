"""Many trees on one descriptor."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from treeguard import ChildHandle, LocalProcessManager, SpawnParams
from treeguard.types import Mechanism

from ..support.judge import children, look
from ..support.patience import PATIENCE
from ..support.programs import Programs

#: A process group is one process and one descriptor a tree; a guarded tree two processes and one descriptor.
SIZES = {"process_group": int(os.environ.get("TREEGUARD_TEST_TREES", "10000")), "subreaper": 1_000, "cgroup": 1_000}


@contextlib.asynccontextmanager
async def alone() -> AsyncIterator[None]:
    """One such test at a time on this machine, whoever runs it: process ids are few. The lock ends with its holder."""
    with socket.socket(socket.AF_UNIX) as lock:
        while True:
            try:
                lock.bind("\0treeguard-test-scale")
                break
            except OSError:
                await asyncio.sleep(0.05)
        yield


@pytest.fixture
def free() -> Iterator[int]:
    """How many trees there is room for: descriptors of this process, with the limit raised meanwhile, and processes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    limits = [hard, resource.getrlimit(resource.RLIMIT_NPROC)[0]]
    try:
        yield min(limit for limit in limits if limit != resource.RLIM_INFINITY) - 500
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def spawn_all(manager: LocalProcessManager, program: str, count: int) -> list[ChildHandle]:
    """Spawns trees, some at a time."""
    handles: list[ChildHandle] = []
    params = SpawnParams(program=program)
    while len(handles) < count:
        handles += await asyncio.gather(*(manager.spawn_child(params) for _ in range(min(50, count - len(handles)))))
    return handles


def watched_descriptors() -> Callable[[], int]:
    """Counts the descriptors that the running loop watches from now on."""
    loop = asyncio.get_running_loop()
    selector = loop._selector  # type: ignore[attr-defined]
    before = len(selector.get_map())
    return lambda: len(selector.get_map()) - before


@pytest.mark.timeout(300)
async def test_thousands_of_trees_on_one_descriptor(mechanism: Mechanism, programs: Programs, free: int) -> None:
    """Ten thousand trees, or a thousand with guards, are watched by one descriptor; each one's end is told."""
    family = set(children())
    watched = watched_descriptors()
    async with alone(), LocalProcessManager(containment=mechanism) as manager:
        size = min(SIZES[mechanism], free)
        handles = await spawn_all(manager, programs.tiny, size)
        assert watched() == 1
        assert len({each.os_pid for each in handles}) == size
        assert await manager.list_children() == handles
        chosen = handles[::100]
        for each in chosen:
            await manager.kill_tree(each.pid)
        for each in chosen:
            assert await manager.wait_for_exit(each.pid, PATIENCE)
            assert look(each.os_pid) is None
        gone = {each.pid for each in chosen}
        assert await manager.list_children() == [each for each in handles if each.pid not in gone]
        assert watched() == 1
    assert set(children()) == family


async def test_kill_of_thousands_is_told_in_batches(mechanism: Mechanism, programs: Programs) -> None:
    """Hundreds of ends at the same moment are all told."""
    async with LocalProcessManager(containment=mechanism) as manager:
        handles = await spawn_all(manager, programs.tiny, 300)
        for each in handles:
            await manager.kill_tree(each.pid)
        done = await asyncio.gather(*(manager.wait_for_exit(each.pid, PATIENCE) for each in handles))
        assert done == [True] * len(handles)
        assert await manager.list_children() == []
