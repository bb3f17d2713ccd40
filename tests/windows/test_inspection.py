"""A tree in a job from within: members, what they use, standing still, and limits."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from treeguard import (
    ContainmentUnavailable,
    Limits,
    LocalProcessManager,
    ShutdownTreeResponse,
    SpawnParams,
    graceful_shutdown_tree,
)
from treeguard.errors import RequestNotDelivered

from ..support.patience import PATIENCE, until
from ..support.programs import Programs
from . import judge
from .adversary import Adversary
from .marks import UNDER_WINE, real_windows


@pytest.mark.parametrize("adversary", ["family", "detached", "nested"], indirect=True)
async def test_members_are_those_in_the_job(adversary: Adversary) -> None:
    """The root comes first, all others are found wherever they went, and strangers are none."""
    async with LocalProcessManager() as manager:
        child = await manager.spawn_child(adversary.params())
        await adversary.ready()
        members = await manager.members(child.pid)
        assert members[0] == child.os_pid
        assert sorted(members) == sorted(judge.named(adversary.program.name))
        assert manager._has_member(child.pid, members[-1])
        assert not manager._has_member(child.pid, os.getpid())
        stats = await manager.stats(child.pid)
        assert stats is not None
        assert stats.processes == len(members)
        assert stats.memory > 0
        await manager.kill_tree(child.pid)
        assert await manager.wait_for_exit(child.pid, PATIENCE)
        assert await manager.members(child.pid) == ()


async def test_a_frozen_tree_stands_still(tmp_path: Path) -> None:
    """While a tree is frozen its processes do nothing; thawed they go on."""
    script = "import time, os\nwhile True: open('ticks', 'ab').write(b'.'); time.sleep(0.005)"
    ticks = tmp_path / "ticks"

    def size() -> int:
        return ticks.stat().st_size if ticks.exists() else 0

    async with LocalProcessManager() as manager:
        child = await manager.spawn_child(
            SpawnParams(kind="runtime", args=("-W", "ignore", "-c", script), cwd=str(tmp_path))
        )
        await until(size, "it ticks")
        await manager.freeze(child.pid, timeout=PATIENCE)
        before = size()
        # Nothing tells that nothing happens: as long as twenty ticks would take.
        assert not await manager.wait_for_exit(child.pid, 0.1)
        assert size() == before
        await manager.thaw(child.pid)
        await until(lambda: size() > before, "it goes on")


@pytest.mark.parametrize("adversary", ["wide"], indirect=True)
async def test_a_frozen_tree_can_be_killed(adversary: Adversary) -> None:
    """Standing still keeps nobody from being ended."""
    async with LocalProcessManager() as manager:
        child = await manager.spawn_child(adversary.params())
        await adversary.ready()
        await manager.freeze(child.pid, timeout=PATIENCE)
        await manager.kill_tree(child.pid)
        assert await manager.wait_for_exit(child.pid, PATIENCE)
        await until(lambda: not adversary.traces, "nothing is left")


async def test_limits_that_are_not_kept_are_refused(programs: Programs) -> None:
    """A limit that the system takes but does not read back is refused before anything starts."""
    async with LocalProcessManager() as manager:
        achieved = manager.containment
        limits = {
            "memory": (achieved.memory_limit, Limits(memory=1 << 28)),
            "processes": (achieved.process_limit, Limits(processes=8)),
            "cpu": (achieved.cpu_limit, Limits(cpu=0.5)),
        }
        for scope, asked in limits.values():
            if scope is None:
                with pytest.raises(ContainmentUnavailable):
                    await manager.spawn_child(SpawnParams(program=programs.tiny, limits=asked))
            else:
                await manager.spawn_child(SpawnParams(program=programs.tiny, limits=asked))
        expected = 0 if UNDER_WINE else sum(scope == "tree" for scope, _ in limits.values())
        assert len(await manager.list_children()) >= expected


@real_windows
@pytest.mark.parametrize("adversary", ["wide"], indirect=True)
async def test_a_limit_on_processes_is_kept(adversary: Adversary, programs: Programs) -> None:
    """Beyond the limit no process starts."""
    async with LocalProcessManager() as manager:
        params = adversary.params()
        child = await manager.spawn_child(
            SpawnParams(program=params.program, args=params.args, pass_fds=params.pass_fds, limits=Limits(processes=5))
        )
        adversary.spawned()
        await until(lambda: "M" in adversary.said, "the root is in place")
        assert len(await manager.members(child.pid)) <= 5


@real_windows
async def test_a_limit_on_memory_is_kept() -> None:
    """An allocation beyond the limit fails."""
    async with LocalProcessManager() as manager:
        script = "import sys\ntry: bytearray(1 << 30)\nexcept MemoryError: sys.exit(4)"
        child = await manager.spawn_child(
            SpawnParams(kind="runtime", args=("-c", script), limits=Limits(memory=1 << 28))
        )
        root = await manager.wait_for_root(child.pid, PATIENCE)
        assert root is not None
        assert root.code == 4


async def test_who_cannot_be_asked_is_killed(programs: Programs) -> None:
    """Where no request can be delivered, it is said, and a graceful shutdown goes on to force."""
    async with LocalProcessManager() as manager:
        child = await manager.spawn_child(SpawnParams(program=programs.tiny))
        delivered = True

        async def ask() -> ShutdownTreeResponse:
            nonlocal delivered
            try:
                await manager.terminate_tree(child.pid, False)
            except RequestNotDelivered:
                delivered = False
                raise
            return ShutdownTreeResponse(acknowledged=True)

        outcome = await graceful_shutdown_tree(manager, child.pid, ask, PATIENCE, PATIENCE)
        assert outcome.exited
        assert outcome.acknowledged == delivered
        assert outcome.forced == (not delivered)
        assert await manager.wait_for_exit(child.pid, 0)
