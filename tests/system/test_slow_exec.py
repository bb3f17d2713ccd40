"""A program on a slow file system: its exec takes seconds, and nobody else waits for it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from treeguard import ChildHandle, LocalProcessManager, ProcessEnded, SpawnParams, TreeguardError
from treeguard.types import Mechanism

from ..support.adoption import Adoption
from ..support.judge import children, look
from ..support.lease import Leased
from ..support.patience import PATIENCE, until
from ..support.programs import Programs


@pytest.fixture
def slow(programs: Programs, tmp_path: Path) -> Iterator[Leased]:
    """A program whose exec does not get on."""
    with Leased(programs.tiny, tmp_path) as leased:
        if leased.problem:
            pytest.skip(f"no leases here: {leased.problem}")
        yield leased


async def begun(manager: LocalProcessManager, slow: Leased) -> tuple[asyncio.Task[ChildHandle], int]:
    """A spawn that hangs in its exec, and the process that is this process's child: guard or root."""
    family = set(children())
    task = asyncio.create_task(manager.spawn_child(SpawnParams(program=slow.program)))

    def waiting() -> list[int]:
        return [pid for pid in children() if pid not in family]

    await until(waiting, "the spawn is under way")
    for _ in range(20):
        await asyncio.sleep(0.002)
        assert not task.done()
    return task, waiting()[0]


def is_gone(pid: int) -> bool:
    """Whether there is neither a process nor a zombie."""
    return look(pid) is None


async def test_loop_goes_on_while_an_exec_is_slow(mechanism: Mechanism, slow: Leased, programs: Programs) -> None:
    """While one spawn waits for its exec the loop ticks, and other trees are spawned and ended."""
    async with LocalProcessManager(containment=mechanism) as manager:
        task, _ = await begun(manager, slow)
        other = await manager.spawn_child(SpawnParams(program=programs.tiny))
        await manager.kill_tree(other.pid)
        assert await manager.wait_for_exit(other.pid, PATIENCE)
        assert not task.done()
        slow.release()
        child = await asyncio.wait_for(task, PATIENCE)
        assert [each.pid for each in await manager.list_children()] == [child.pid]
        assert Path(f"/proc/{child.os_pid}/exe").samefile(slow.program)


async def test_cancelling_ends_a_slow_exec(mechanism: Mechanism, slow: Leased) -> None:
    """A spawn that is cancelled in its exec has left nothing when the cancellation is seen."""
    async with LocalProcessManager(containment=mechanism) as manager:
        task, pid = await begun(manager, slow)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert is_gone(pid)
        assert await manager.list_children() == []


async def test_leaving_the_manager_ends_a_slow_exec(mechanism: Mechanism, slow: Leased) -> None:
    """A spawn that hangs when its manager is left is ended, and its caller gets the error."""
    async with LocalProcessManager(containment=mechanism) as manager:
        task, pid = await begun(manager, slow)
    assert is_gone(pid)
    with pytest.raises(ProcessEnded):
        await asyncio.wait_for(task, PATIENCE)


async def test_killing_the_parent_tree_ends_a_slow_exec(mechanism: Mechanism, slow: Leased, programs: Programs) -> None:
    """A child that hangs in its exec when its parent's subtree is killed has ended with it."""
    async with LocalProcessManager(containment=mechanism) as manager:
        parent = await manager.spawn_child(SpawnParams(program=programs.tiny))
        params = SpawnParams(program=slow.program, parent=parent.pid)
        task = asyncio.create_task(manager.spawn_child(params))
        for _ in range(20):
            await asyncio.sleep(0.002)
        assert not task.done()
        await manager.kill_tree(parent.pid)
        assert await manager.wait_for_exit(parent.pid, PATIENCE)
        with pytest.raises(ProcessEnded):
            await asyncio.wait_for(task, PATIENCE)


async def test_guard_killed_during_a_slow_exec(containing: Mechanism, slow: Leased, adoption: Adoption) -> None:
    """A guard that is killed before its root runs takes the root along, and the spawn fails."""
    async with LocalProcessManager(containment=containing) as manager:
        task, guard = await begun(manager, slow)
        (root,) = children(guard)
        os.kill(guard, signal.SIGKILL)
        with pytest.raises(TreeguardError):
            await asyncio.wait_for(task, PATIENCE)
        await until(lambda: is_gone(root) or adoption.reap(but={guard}), "the root died with its guard")
