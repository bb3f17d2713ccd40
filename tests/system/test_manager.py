"""A manager's contract on real trees: ids, lists, waiting, subtrees, exits."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import signal
import sys
import tracemalloc
import uuid
import warnings
from pathlib import Path

import pytest

import treeguard
from treeguard import (
    ChildHandle,
    ConnectionId,
    LocalProcessManager,
    ProcessEnded,
    ProcessId,
    SpawnParams,
    UnknownProcess,
)
from treeguard.errors import NotOwner
from treeguard.types import Mechanism

from ..support.judge import children, look
from ..support.marks import posix, thousands
from ..support.patience import PATIENCE, until
from ..support.programs import Programs


def shell(script: str) -> SpawnParams:
    """A shell that runs a script."""
    if sys.platform == "win32":
        return SpawnParams(program="cmd.exe", args=("/d", "/c", script))
    return SpawnParams(program="/bin/sh", args=("-c", script))


async def test_spawned_children_are_listed_until_they_are_empty(mechanism: Mechanism, programs: Programs) -> None:
    """The list holds the children whose trees are not empty, in the order in which they were spawned."""
    async with LocalProcessManager(containment=mechanism) as manager:
        assert await manager.list_children() == []
        handles = [await manager.spawn_child(SpawnParams(program=programs.tiny, kind=f"k{i}")) for i in range(3)]
        assert await manager.list_children() == handles
        assert [each.kind for each in handles] == ["k0", "k1", "k2"]
        await manager.kill_tree(handles[1].pid)
        assert await manager.wait_for_exit(handles[1].pid, PATIENCE)
        assert await manager.list_children() == [handles[0], handles[2]]


@posix
async def test_handle_tells_the_roots_process(mechanism: Mechanism, programs: Programs) -> None:
    """``os_pid`` is the running root's when the spawn returns."""
    async with LocalProcessManager(containment=mechanism) as manager:
        child = await manager.spawn_child(SpawnParams(program=programs.tiny))

        def name() -> str | None:
            root = look(child.os_pid)
            return None if root is None else root.name

        # The kernel names a process a moment after it has given it the program's memory.
        await until(lambda: name() == "tiny", "the root runs its program")


async def test_wait_for_exit_times_out(mechanism: Mechanism, programs: Programs) -> None:
    """Waiting says False when the time is over and the tree lives; without a timeout it goes on until it is empty."""
    async with LocalProcessManager(containment=mechanism) as manager:
        child = await manager.spawn_child(SpawnParams(program=programs.tiny))
        assert not await manager.wait_for_exit(child.pid, 0)
        assert not await manager.wait_for_exit(child.pid, 0.01)
        waiting = [asyncio.create_task(manager.wait_for_exit(child.pid, each)) for each in (None, PATIENCE, PATIENCE)]
        await asyncio.sleep(0)
        waiting[1].cancel()
        await manager.kill_tree(child.pid)
        assert await asyncio.wait_for(waiting[0], PATIENCE)
        assert await waiting[2]
        assert waiting[1].cancelled()


@pytest.mark.parametrize("timeout", [-1, -0.001, float("nan")])
async def test_timeouts_are_checked(mechanism: Mechanism, programs: Programs, timeout: float) -> None:
    """A timeout that cannot be waited is refused."""
    async with LocalProcessManager(containment=mechanism) as manager:
        child = await manager.spawn_child(SpawnParams(program=programs.tiny))
        with pytest.raises(ValueError, match="timeout"):
            await manager.wait_for_exit(child.pid, timeout)


async def test_ids_that_were_never_issued(mechanism: Mechanism, programs: Programs) -> None:
    """For an id that it never issued, another manager's included, a manager knows no process, whatever is asked."""
    async with LocalProcessManager(containment=mechanism) as manager, LocalProcessManager() as other:
        child = await other.spawn_child(SpawnParams(program=programs.tiny))
        for pid in (ProcessId(uuid.uuid4()), ProcessId(uuid.UUID(int=0)), child.pid):
            for ask in (
                manager.wait_for_exit(pid, 0),
                manager.kill_tree(pid),
                manager.terminate_tree(pid, False),
                manager.terminate_tree(pid, True),
                manager.wait_for_root(pid, 0),
                manager.attach_connection(pid, ConnectionId(uuid.uuid4())),
                manager.spawn_child(SpawnParams(program=programs.tiny, parent=pid)),
            ):
                with pytest.raises(UnknownProcess):
                    await ask
        assert [each.pid for each in await other.list_children()] == [child.pid]


async def test_ended_trees_are_answered_for(mechanism: Mechanism, programs: Programs) -> None:
    """When a tree has ended, waiting says True at once, killing is no error, and anything else says that it ended."""
    async with LocalProcessManager(containment=mechanism) as manager:
        child = await manager.spawn_child(SpawnParams(program=programs.tiny, args=("end",)))
        assert await manager.wait_for_exit(child.pid, PATIENCE)
        assert await manager.wait_for_exit(child.pid, 0)
        await manager.kill_tree(child.pid)
        await manager.terminate_tree(child.pid, False)
        with pytest.raises(ProcessEnded):
            await manager.attach_connection(child.pid, ConnectionId(uuid.uuid4()))
        with pytest.raises(ProcessEnded):
            await manager.spawn_child(SpawnParams(program=programs.tiny, parent=child.pid))
    assert await manager.wait_for_exit(child.pid, 0)


async def lives(manager: LocalProcessManager, params: SpawnParams, count: int) -> list[ProcessId]:
    """As many short lives; every hundredth id. No life has a timeout: asyncio keeps up to 100 that were cancelled."""
    kept = []
    for i in range(count):
        child = await manager.spawn_child(params)
        assert await manager.wait_for_exit(child.pid, None)
        if i % 100 == 0:
            kept.append(child.pid)
    return kept


#: Where memory is asked for that a life may leave. Threads of other tests' may still be at work beside it.
_OURS = [tracemalloc.Filter(True, str(Path(place.__file__ or "").parent / "*")) for place in (treeguard, asyncio)]


@thousands
async def test_thousands_of_ended_ids_take_no_memory(mechanism: Mechanism, programs: Programs) -> None:
    """A manager answers for every id that it ever issued, and its memory does not grow with their number."""
    params = SpawnParams(program=programs.tiny, args=("end",))
    async with LocalProcessManager(containment=mechanism) as manager:
        tracemalloc.start()
        try:
            # The exits of the last 1,024 are remembered, in tables that still make room for a while.
            pids = await lives(manager, params, 2200)
            rounds = []
            for _ in range(4):
                gc.collect()
                rounds.append(tracemalloc.take_snapshot().filter_traces(_OURS))
                pids += await lives(manager, params, 500)
        finally:
            tracemalloc.stop()
        for pid in pids:
            assert await manager.wait_for_exit(pid, 0)
    # A table that is made larger shows in one round, what each life leaves in all of them.
    grown = [after.compare_to(before, "lineno") for before, after in itertools.pairwise(rounds)]
    sizes = [sum(line.size_diff for line in lines) for lines in grown]
    assert min(sizes) < 8 * 500, grown[-1][:5]


async def test_parent_takes_its_subtree_along(mechanism: Mechanism, programs: Programs) -> None:
    """Killing a child kills those below it, whatever their depth; none is left when the first is told empty."""
    async with LocalProcessManager(containment=mechanism) as manager:
        top = await manager.spawn_child(SpawnParams(program=programs.tiny))
        left = await manager.spawn_child(SpawnParams(program=programs.tiny, parent=top.pid))
        right = await manager.spawn_child(SpawnParams(program=programs.tiny, parent=top.pid))
        below = await manager.spawn_child(SpawnParams(program=programs.tiny, parent=left.pid))
        stranger = await manager.spawn_child(SpawnParams(program=programs.tiny))
        assert (top.parent, left.parent, below.parent) == (None, top.pid, left.pid)

        async def note(pid: ProcessId, *descendants: ProcessId) -> None:
            assert await manager.wait_for_exit(pid, PATIENCE)
            for each in descendants:
                assert await manager.wait_for_exit(each, 0)

        notes = [
            note(top.pid, left.pid, right.pid, below.pid),
            note(left.pid, below.pid),
            note(right.pid),
            note(below.pid),
        ]
        waiting = [asyncio.create_task(each) for each in notes]
        await asyncio.sleep(0)
        await manager.kill_tree(top.pid)
        await asyncio.gather(*waiting)
        assert [each.pid for each in await manager.list_children()] == [stranger.pid]


async def test_killing_a_child_spares_its_parent(mechanism: Mechanism, programs: Programs) -> None:
    """Killing a child leaves its parent and its siblings alone."""
    async with LocalProcessManager(containment=mechanism) as manager:
        top = await manager.spawn_child(SpawnParams(program=programs.tiny))
        one = await manager.spawn_child(SpawnParams(program=programs.tiny, parent=top.pid))
        two = await manager.spawn_child(SpawnParams(program=programs.tiny, parent=top.pid))
        await manager.kill_tree(one.pid)
        assert await manager.wait_for_exit(one.pid, PATIENCE)
        assert [each.pid for each in await manager.list_children()] == [top.pid, two.pid]


async def test_nothing_is_added_to_a_subtree_that_ends(mechanism: Mechanism, programs: Programs) -> None:
    """A parent that is being killed takes no more children, so none is missed."""
    async with LocalProcessManager(containment=mechanism) as manager:
        top = await manager.spawn_child(SpawnParams(program=programs.tiny))
        racing = [
            asyncio.create_task(manager.spawn_child(SpawnParams(program=programs.tiny, parent=top.pid)))
            for _ in range(10)
        ]
        await asyncio.sleep(0)
        await manager.kill_tree(top.pid)
        with pytest.raises(ProcessEnded):
            await manager.spawn_child(SpawnParams(program=programs.tiny, parent=top.pid))
        assert await manager.wait_for_exit(top.pid, PATIENCE)
        assert await manager.list_children() == []
        results = await asyncio.gather(*racing, return_exceptions=True)
        # Some may have been started before the kill; that they were killed is what counts.
        assert all(isinstance(each, ChildHandle | ProcessEnded) for each in results)


@posix
async def test_gentle_end_is_sigterm_to_the_roots_group(mechanism: Mechanism) -> None:
    """Without force the root and its group get SIGTERM, and may do with it what they like."""
    async with LocalProcessManager(containment=mechanism) as manager:
        read, write = os.pipe()
        below = "(trap 'echo child; exit' TERM; echo up; while :; do sleep 0.01; done)"
        script = f"trap 'echo root; exit 5' TERM; {below} & wait"
        child = await manager.spawn_child(SpawnParams(program="/bin/sh", args=("-c", script), stdout=write))
        os.close(write)
        with os.fdopen(read) as out:
            assert out.readline() == "up\n"
            await manager.terminate_tree(child.pid, False)
            root = await manager.wait_for_root(child.pid, PATIENCE)
            assert root is not None
            assert root.code == 5
            assert await manager.wait_for_exit(child.pid, PATIENCE)
            assert sorted(out.read().split()) == ["child", "root"]


@posix
async def test_gentle_end_of_a_subtree(mechanism: Mechanism, programs: Programs) -> None:
    """Without force the children below get SIGTERM too."""
    async with LocalProcessManager(containment=mechanism) as manager:
        top = await manager.spawn_child(SpawnParams(program=programs.tiny))
        below = await manager.spawn_child(SpawnParams(program=programs.tiny, parent=top.pid))
        await manager.terminate_tree(top.pid, False)
        assert await manager.wait_for_exit(top.pid, PATIENCE)
        for each in (top, below):
            exit_ = await manager.wait_for_root(each.pid)
            assert exit_ is not None
            assert (exit_.code, exit_.signal) == (None, signal.SIGTERM)


@posix
@pytest.mark.parametrize(
    ("script", "code", "number"),
    [("exit 0", 0, None), ("exit 255", 255, None), ("kill -SEGV $$", None, signal.SIGSEGV), ("kill -9 $$", None, 9)],
)
async def test_root_exit_is_told(mechanism: Mechanism, script: str, code: int | None, number: int | None) -> None:
    """How the root ended is told as an exit code or a signal; a failure is data."""
    async with LocalProcessManager(containment=mechanism) as manager:
        child = await manager.spawn_child(shell(script))
        root = await manager.wait_for_root(child.pid, PATIENCE)
        assert root is not None
        assert (root.code, root.signal) == (code, number)
        assert await manager.wait_for_exit(child.pid, PATIENCE)
        assert await manager.wait_for_root(child.pid, 0) == root


async def test_root_exit_times_out(mechanism: Mechanism, programs: Programs) -> None:
    """Waiting for a root that lives says None when the time is over."""
    async with LocalProcessManager(containment=mechanism) as manager:
        child = await manager.spawn_child(SpawnParams(program=programs.tiny))
        assert await manager.wait_for_root(child.pid, 0) is None
        assert await manager.wait_for_root(child.pid, 0.01) is None


@posix
async def test_resource_usage_of_the_root(mechanism: Mechanism) -> None:
    """What the root used is told with its exit."""
    async with LocalProcessManager(containment=mechanism) as manager:
        child = await manager.spawn_child(shell("i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done"))
        root = await manager.wait_for_root(child.pid, PATIENCE)
        assert root is not None
        assert 0 < root.usage.user_time + root.usage.system_time < PATIENCE
        assert root.usage.max_rss > 100_000
        assert root.usage.minor_faults > 10


@posix
async def test_root_that_is_stopped_is_seen(containing: Mechanism, programs: Programs) -> None:
    """A root that is stopped and continued is told so, and its tree can be killed all the same."""
    async with LocalProcessManager(containment=containing) as manager:
        child = await manager.spawn_child(SpawnParams(program=programs.tiny))
        seen = await manager.wait_for_change(child.pid)
        assert (seen.os_pid, seen.stopped, seen.exit) == (child.os_pid, None, None)
        os.kill(child.os_pid, signal.SIGSTOP)
        seen = await asyncio.wait_for(manager.wait_for_change(child.pid, seen), PATIENCE)
        assert seen.stopped == signal.SIGSTOP
        os.kill(child.os_pid, signal.SIGCONT)
        seen = await asyncio.wait_for(manager.wait_for_change(child.pid, seen), PATIENCE)
        assert seen.stopped is None
        os.kill(child.os_pid, signal.SIGSTOP)
        await manager.kill_tree(child.pid)
        assert await manager.wait_for_exit(child.pid, PATIENCE)


async def test_connections_are_attached_once(mechanism: Mechanism, programs: Programs) -> None:
    """A connection shows in its child's handle, and belongs to no other child meanwhile."""
    async with LocalProcessManager(containment=mechanism) as manager:
        one = await manager.spawn_child(SpawnParams(program=programs.tiny))
        two = await manager.spawn_child(SpawnParams(program=programs.tiny))
        conn = ConnectionId(uuid.uuid4())
        await manager.attach_connection(one.pid, conn)
        await manager.attach_connection(one.pid, conn)
        assert [each.connection for each in await manager.list_children()] == [conn, None]
        with pytest.raises(ValueError, match="attached"):
            await manager.attach_connection(two.pid, conn)
        await manager.kill_tree(one.pid)
        assert await manager.wait_for_exit(one.pid, PATIENCE)
        await manager.attach_connection(two.pid, conn)


async def test_closed_manager_spawns_nothing(mechanism: Mechanism, programs: Programs) -> None:
    """A manager that was left refuses to spawn, and can be left again."""
    manager = LocalProcessManager(containment=mechanism)
    async with manager:
        pass
    with pytest.raises(NotOwner):
        await manager.spawn_child(SpawnParams(program=programs.tiny))
    with pytest.raises(NotOwner):
        await manager.__aenter__()
    await manager.__aexit__(None, None, None)


def test_manager_that_was_forgotten_ends_its_trees(mechanism: Mechanism, programs: Programs) -> None:
    """A manager that nobody left warns when its loop is gone and it is collected, and its trees are gone after that."""
    family = set(children())

    async def forget() -> None:
        manager = LocalProcessManager(containment=mechanism)
        await manager.spawn_child(SpawnParams(program=programs.tiny))

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        asyncio.run(forget())
        gc.collect()
    assert [each.category for each in caught] == [ResourceWarning]
    assert set(children()) == family


async def test_manager_that_was_never_used_is_no_matter(mechanism: Mechanism) -> None:
    """Making a manager, or asking for its containment, opens nothing that would have to be closed."""
    manager = LocalProcessManager(containment=mechanism)
    assert manager.containment.mechanism == mechanism
    del manager
    gc.collect()


async def test_concurrent_spawns_are_independent(mechanism: Mechanism, programs: Programs) -> None:
    """Many spawns, kills and waits at once get each its own tree's answers."""
    async with LocalProcessManager(containment=mechanism) as manager:

        async def life(i: int) -> int:
            child = await manager.spawn_child(shell(f"exit {i}"))
            root = await manager.wait_for_root(child.pid, PATIENCE)
            assert await manager.wait_for_exit(child.pid, PATIENCE)
            assert root is not None
            assert root.code is not None
            return root.code

        assert await asyncio.gather(*map(life, range(100))) == list(range(100))
        assert await manager.list_children() == []
