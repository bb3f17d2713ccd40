"""A tree from within: its members, what it uses, and letting it stand still."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import uuid
from pathlib import Path

import pytest

from treeguard import ChildHandle, LocalProcessManager, ProcessEnded, SpawnParams, UnknownProcess
from treeguard.errors import TreeNotFrozen
from treeguard.types import Mechanism, ProcessId, TreeStats

from ..support.adversary import Adversary
from ..support.judge import carriers, children, look
from ..support.patience import PATIENCE, until
from ..support.programs import Programs

#: Counts in a file for as long as it runs; a clock that shows whether it stands still.
_TICKING = "while :; do echo; done > {}"


#: How often a tree is frozen whose root is now and then within a vfork.
_FREEZES = 40
#: The same in Python, by a thread that goes on when the main thread has ended.
_TICKING_HUSK = """
import ctypes, sys, threading
def work():
    with open(sys.argv[1], "a") as file:
        while file.write("\\n"):
            file.flush()
threading.Thread(target=work).start()
ctypes.CDLL(None).pthread_exit(None)
"""


def ticks(path: Path) -> int:
    return path.stat().st_size


def state(pid: int) -> str:
    seen = look(pid)
    return "gone" if seen is None else seen.state


async def seen_running(path: Path) -> None:
    before = ticks(path)
    await until(lambda: ticks(path) > before, "it runs")


@pytest.mark.parametrize(
    "adversary", ["family", "session", "daemon", "deep", "groups", "stopped", "husk"], indirect=True
)
async def test_members_are_those_that_the_judge_sees(containing: Mechanism, adversary: Adversary) -> None:
    """All of the tree, wherever they went, and nobody else; the root first."""
    async with LocalProcessManager(containment=containing) as manager:
        child = await manager.spawn_child(adversary.params())
        await adversary.ready()
        members = await manager.members(child.pid)
        assert members[0] == child.os_pid
        assert sorted(members) == sorted(carriers(adversary.marker))
        assert all(manager._has_member(child.pid, pid) for pid in members)
        assert not any(manager._has_member(child.pid, pid) for pid in (os.getpid(), os.getppid(), 1, 0, -1))
        await manager.kill_tree(child.pid)
        assert await manager.wait_for_exit(child.pid, PATIENCE)
        assert await manager.members(child.pid) == ()
        assert not manager._has_member(child.pid, child.os_pid)


@pytest.mark.parametrize("adversary", ["family", "wide"], indirect=True)
async def test_members_of_a_group(adversary: Adversary) -> None:
    """Without a guard the root's group, and its descent."""
    async with LocalProcessManager(containment="process_group") as manager:
        child = await manager.spawn_child(adversary.params())
        await adversary.ready()
        assert sorted(await manager.members(child.pid)) == sorted(carriers(adversary.marker))


@pytest.mark.parametrize("adversary", ["daemon"], indirect=True)
async def test_control_escapees_of_a_group_are_not_seen(adversary: Adversary) -> None:
    """The judge sees the one that is no member."""
    async with LocalProcessManager(containment="process_group") as manager:
        child = await manager.spawn_child(adversary.params())
        await adversary.ready()
        escaped = set(carriers(adversary.marker)) - set(await manager.members(child.pid))
        assert len(escaped) == 1
        assert not manager._has_member(child.pid, *escaped)


async def test_trees_are_told_apart(mechanism: Mechanism, programs: Programs) -> None:
    """Nobody is a member of another tree, not of its parent's either; an unknown id is refused."""
    async with LocalProcessManager(containment=mechanism) as manager:
        one = await manager.spawn_child(SpawnParams(programs.tiny))
        two = await manager.spawn_child(SpawnParams(programs.tiny, parent=one.pid))
        assert await manager.members(one.pid) == (one.os_pid,)
        assert await manager.members(two.pid) == (two.os_pid,)
        assert not manager._has_member(one.pid, two.os_pid)
        with pytest.raises(UnknownProcess):
            await manager.members(ProcessId(uuid.uuid4()))


async def ticking(manager: LocalProcessManager, path: Path, script: str = _TICKING) -> ChildHandle:
    child = await manager.spawn_child(SpawnParams("sh", ("-c", script.format(path))))
    await until(path.exists, "it has begun")
    await seen_running(path)
    return child


@pytest.mark.parametrize("script", [_TICKING, "(setsid sh -c '" + _TICKING + "' &); exec sleep 1000"])
async def test_frozen_tree_stands_still_until_it_is_thawed(containing: Mechanism, script: str, tmp_path: Path) -> None:
    """Nothing of it runs between freeze and thaw; then it goes on. Both may be said twice."""
    path = tmp_path / "ticks"
    async with LocalProcessManager(containment=containing) as manager:
        child = await ticking(manager, path, script)
        await manager.freeze(child.pid)
        await manager.freeze(child.pid)
        frozen_at = ticks(path)
        # Time passes here in which a control, thawed, is seen to run.
        control = await ticking(manager, tmp_path / "control")
        await seen_running(tmp_path / "control")
        assert ticks(path) == frozen_at
        await manager.thaw(child.pid)
        await manager.thaw(child.pid)
        await seen_running(path)
        await manager.kill_tree(control.pid)


async def test_process_whose_main_thread_has_ended_stands_still_and_is_counted(
    containing: Mechanism, tmp_path: Path
) -> None:
    """It is shown as a zombie while another thread works: it is frozen like any other, and so is its memory counted."""
    path = tmp_path / "ticks"
    async with LocalProcessManager(containment=containing) as manager:
        child = await manager.spawn_child(SpawnParams(sys.executable, ("-c", _TICKING_HUSK, str(path))))
        await until(lambda: state(child.os_pid) == "Z", "its main thread has ended")
        await until(path.exists, "its other thread has begun")
        await seen_running(path)
        stats = await manager.stats(child.pid)
        assert stats is not None
        assert stats.processes == 1
        assert stats.memory > 1 << 20
        await manager.freeze(child.pid)
        frozen_at = ticks(path)
        await ticking(manager, tmp_path / "control")
        assert ticks(path) == frozen_at
        await manager.thaw(child.pid)
        await seen_running(path)


async def test_control_process_that_has_ended_is_none(containing: Mechanism) -> None:
    """A zombie that its parent does not wait for is neither a member nor counted."""
    script = "sh -c 'exit 3' & exec sleep 1000"
    async with LocalProcessManager(containment=containing) as manager:
        child = await manager.spawn_child(SpawnParams("sh", ("-c", script)))
        await until(lambda: any(state(each) == "Z" for each in _children(child.os_pid)), "one has ended")
        assert await manager.members(child.pid) == (child.os_pid,)
        stats = await manager.stats(child.pid)
        assert stats is not None
        assert stats.processes == 1


@pytest.mark.parametrize("adversary", ["deaf", "session", "daemon", "deep", "husk", "zoo"], indirect=True)
async def test_frozen_tree_can_be_killed(containing: Mechanism, adversary: Adversary) -> None:
    """A kill needs no thaw."""
    async with LocalProcessManager(containment=containing) as manager:
        child = await manager.spawn_child(adversary.params())
        await adversary.ready()
        # Some of the zoo fork so fast that signals may not catch them all.
        with contextlib.suppress(TreeNotFrozen):
            await manager.freeze(child.pid, timeout=1)
        await manager.kill_tree(child.pid)
        assert await manager.wait_for_exit(child.pid, PATIENCE)
        assert not adversary.traces


async def test_what_stood_still_before_does_so_after(containing: Mechanism) -> None:
    """A thaw does not continue a process that was stopped by another one."""
    async with LocalProcessManager(containment=containing) as manager:
        child = await manager.spawn_child(SpawnParams("sh", ("-c", "sleep 1000 & kill -STOP $!; wait")))
        await until(lambda: any(p for p in _children(child.os_pid) if state(p) == "T"), "it is stopped")
        (stopped,) = _children(child.os_pid)
        await manager.freeze(child.pid)
        await manager.thaw(child.pid)
        await until(lambda: state(child.os_pid) == "S", "the root goes on")
        assert state(stopped) == "T"


def _children(pid: int) -> list[int]:
    return list(children(pid))


async def test_trees_below_are_frozen_too(containing: Mechanism, tmp_path: Path) -> None:
    """A child's subtree stands still with it."""
    async with LocalProcessManager(containment=containing) as manager:
        top = await manager.spawn_child(SpawnParams("sleep", ("1000",)))
        path = tmp_path / "ticks"
        below = await manager.spawn_child(SpawnParams("sh", ("-c", _TICKING.format(path)), parent=top.pid))
        await until(path.exists, "it has begun")
        await manager.freeze(top.pid)
        frozen_at = ticks(path)
        await ticking(manager, tmp_path / "control")
        assert ticks(path) == frozen_at
        await manager.thaw(top.pid)
        await seen_running(path)
        await manager.kill_tree(below.pid)


@pytest.mark.parametrize("adversary", ["hydra"], indirect=True)
async def test_freezing_that_fails_lets_all_go_on(adversary: Adversary) -> None:
    """What forks faster than signals come is told of, and goes on; no time at all is too short for anybody."""
    async with LocalProcessManager(containment="subreaper") as manager:
        child = await manager.spawn_child(adversary.params())
        await adversary.ready()
        with pytest.raises(TreeNotFrozen):
            await manager.freeze(child.pid, timeout=0)
        await until(lambda: state(child.os_pid) in "SR", "the root goes on")


async def test_cancelled_freezing_lets_all_go_on(containing: Mechanism, tmp_path: Path) -> None:
    """Cancelled at its first step, nothing stays frozen."""
    path = tmp_path / "ticks"
    async with LocalProcessManager(containment=containing) as manager:
        child = await ticking(manager, path)
        task = asyncio.create_task(manager.freeze(child.pid))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await seen_running(path)


async def test_freezing_what_has_ended(containing: Mechanism) -> None:
    """Is an error, as for everything that needs a living tree; thawing it is none."""
    async with LocalProcessManager(containment=containing) as manager:
        child = await manager.spawn_child(SpawnParams("true"))
        assert await manager.wait_for_exit(child.pid, PATIENCE)
        with pytest.raises(ProcessEnded):
            await manager.freeze(child.pid)
        await manager.thaw(child.pid)


_BURN = "import time\nwhile time.process_time() < 0.3: pass\n"


async def test_stats_count_the_dead_and_the_living(mechanism: Mechanism) -> None:
    """The CPU time of a reaped child counts, and the memory of living processes; after the end, the total use."""
    script = f"'{sys.executable}' -c '{_BURN}'; exec sleep 1000"
    async with LocalProcessManager(containment=mechanism) as manager:
        child = await manager.spawn_child(SpawnParams("sh", ("-c", script)))
        await until(lambda: (seen := look(child.os_pid)) is not None and seen.name == "sleep", "the child has burnt")
        stats = await manager.stats(child.pid)
        assert stats is not None
        assert stats.user_time + stats.system_time >= 0.25
        assert stats.processes == 1
        assert 0 < stats.memory <= stats.peak_memory < 1 << 30
        await manager.kill_tree(child.pid)
        assert await manager.wait_for_exit(child.pid, PATIENCE)
        after = await manager.stats(child.pid)
        assert after is not None
        assert after.user_time + after.system_time >= 0.25
        assert after.processes == 0
        assert after.peak_memory > 1 << 20


async def test_stats_count_orphans(containing: Mechanism, tmp_path: Path) -> None:
    """What an orphan has burnt is not lost with it: its guard has waited for it."""
    ended = tmp_path / "ended"
    script = f'(setsid sh -c \'$0 -c "$1"; echo > {ended}\' "$0" "$1" &) ; exec sleep 1000'
    async with LocalProcessManager(containment=containing) as manager:
        child = await manager.spawn_child(SpawnParams("sh", ("-c", script, sys.executable, _BURN)))
        await until(ended.exists, "the orphan is about to end")
        stats = await asyncio.wait_for(_of_one(manager, child.pid), PATIENCE)
        assert stats is not None
        assert stats.user_time + stats.system_time >= 0.25


async def _of_one(manager: LocalProcessManager, pid: ProcessId) -> TreeStats | None:
    """The stats of a tree when its root alone is left."""
    while True:
        stats = await manager.stats(pid)
        if stats is None or stats.processes == 1:
            return stats
        await asyncio.sleep(0.001)


async def test_stats_of_a_frozen_tree(containing: Mechanism, tmp_path: Path) -> None:
    """Looking does not wake."""
    path = tmp_path / "ticks"
    async with LocalProcessManager(containment=containing) as manager:
        child = await ticking(manager, path)
        await manager.freeze(child.pid)
        frozen_at = ticks(path)
        stats = await manager.stats(child.pid)
        assert stats is not None
        assert stats.processes == 1
        await ticking(manager, tmp_path / "control")
        assert ticks(path) == frozen_at
        await manager.kill_tree(child.pid)
        assert await manager.wait_for_exit(child.pid, PATIENCE)


async def test_peak_memory_is_the_trees_own(containing: Mechanism, programs: Programs) -> None:
    """What the supervisor uses counts for nobody else, although a guard borrows its memory before its exec."""
    ballast = bytearray(64 << 20)
    async with LocalProcessManager(containment=containing) as manager:
        tree = await manager.spawn(programs.tiny, "end")
        assert await tree.wait_empty(PATIENCE)
        assert (await tree.stats()).peak_memory < len(ballast)
        assert tree.exit is not None
        assert tree.exit.usage.max_rss < len(ballast)


async def test_a_parent_that_waits_for_an_exec_is_frozen(containing: Mechanism) -> None:
    """A shell starts its commands by vfork(2): stopped before its exec, a child would keep its parent from stopping."""
    async with LocalProcessManager(containment=containing) as manager:
        child = await manager.spawn_child(SpawnParams("/bin/sh", ("-c", "while :; do /bin/true; done")))
        for _ in range(_FREEZES):
            await manager.freeze(child.pid, timeout=PATIENCE)
            await manager.thaw(child.pid)
        await manager.kill_tree(child.pid)
        assert await manager.wait_for_exit(child.pid, PATIENCE)
