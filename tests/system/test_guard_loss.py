"""A guard that is killed: a second fault, which is told, and after which what can be found of the tree is ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest import mock

import msgspec
import pytest

from treeguard import ChildHandle, GuardLost, LocalProcessManager, ProcessId, SpawnParams
from treeguard._core.cgroup.cgroups import own_cgroup
from treeguard._core.containment.proc_scanner import ProcScanner, SearchTarget
from treeguard._core.trees import registry
from treeguard._core.waiting import aside
from treeguard._core.worker import Worker
from treeguard.types import Mechanism

from ..support.adoption import Adoption
from ..support.adversary import Adversary
from ..support.judge import look
from ..support.mechanisms import CONTAINING
from ..support.patience import PATIENCE, SLOWNESS, until, wait_until
from ..support.plans import plan
from ..support.programs import Programs


def kill_guard(child: ChildHandle) -> None:
    """Kills the parent of a root."""
    root = look(child.os_pid)
    assert root is not None
    assert root.parent != os.getpid()
    os.kill(root.parent, signal.SIGKILL)


def has_ended(pid: int) -> bool:
    """Whether it runs no more; its new parent, this process, may not have reaped it yet."""
    seen = look(pid)
    return seen is None or seen.state == "Z"


@contextlib.contextmanager
def another_cgroup() -> Iterator[Path]:
    """One beside the manager's."""
    path = own_cgroup() / f"treeguard-test.{os.getpid()}"
    path.mkdir()
    try:
        yield path
    finally:
        wait_until(lambda: not (path / "cgroup.procs").read_text("ascii"), "nothing lives in it")
        path.rmdir()


async def wait_for_the_end(manager: LocalProcessManager, pid: ProcessId, timeout: float | None = PATIENCE) -> None:
    """A tree that survives its guard's loss ends empty; of any other it cannot be proved, and that is told."""
    if manager.containment.outlives_guard:
        assert await manager.wait_for_exit(pid, timeout)
    else:
        with pytest.raises(GuardLost):
            await manager.wait_for_exit(pid, timeout)


async def lose_the_guard_of(manager: LocalProcessManager, adversary: Adversary, *, clear_env: bool = False) -> None:
    """Grows an adversary, kills its guard, and waits until the loss is told."""
    child = await manager.spawn_child(msgspec.structs.replace(adversary.params(), clear_env=clear_env))
    await adversary.ready()
    kill_guard(child)
    await wait_for_the_end(manager, child.pid)


async def test_waiters_are_told_that_the_guard_was_lost(
    containing: Mechanism, programs: Programs, adoption: Adoption
) -> None:
    """All waiting callers get the error, and so do later ones. The tree is no longer listed."""
    async with LocalProcessManager(containment=containing) as manager:
        child = await manager.spawn_child(SpawnParams(program=programs.tiny))
        waiting = [asyncio.create_task(wait_for_the_end(manager, child.pid, each)) for each in (None, PATIENCE)]
        await asyncio.sleep(0)
        kill_guard(child)
        await asyncio.wait_for(asyncio.gather(*waiting), PATIENCE)
        await wait_for_the_end(manager, child.pid, 0)
        assert await manager.list_children() == []
        await manager.kill_tree(child.pid)
    assert has_ended(child.os_pid)


@pytest.mark.parametrize("adversary", ["alone", "family", "deaf", "wide", "swarm"], indirect=True)
async def test_group_of_the_root_is_gone(containing: Mechanism, adversary: Adversary, adoption: Adoption) -> None:
    """When the loss is told, nothing of the root's group is left."""
    async with LocalProcessManager(containment=containing) as manager:
        await lose_the_guard_of(manager, adversary)
        assert not adversary.traces


@pytest.mark.parametrize("adversary", ["session", "deep", "groups", "reaper", "stopped", "husk"], indirect=True)
async def test_who_carries_the_mark_is_gone(containing: Mechanism, adversary: Adversary, adoption: Adoption) -> None:
    """Escapees that kept their environment are found by the tree's mark in it, wherever they are."""
    async with LocalProcessManager(containment=containing) as manager:
        await lose_the_guard_of(manager, adversary)
        assert not adversary.traces


@pytest.fixture
def crowd(programs: Programs) -> Iterator[None]:
    """A thousand processes more, which have ended; fewer where each takes longer to look at."""
    ended = [subprocess.Popen([programs.tiny, "end"]) for _ in range(round(1000 / SLOWNESS))]
    yield
    for each in ended:
        each.wait()


@pytest.mark.usefixtures("crowd")
async def test_who_forks_on_is_gone(containing: Mechanism, programs: Programs, adoption: Adoption) -> None:
    """Chains of forks in a session of their own, however long it takes to look at every process there is."""
    with Adversary(programs, plan("(s(h()h()h()h()))")) as adversary:
        async with LocalProcessManager(containment=containing) as manager:
            await lose_the_guard_of(manager, adversary)
            assert not adversary.traces


@pytest.mark.parametrize("adversary", ["session", "deep"], indirect=True)
async def test_control_without_the_mark_they_live_on(adversary: Adversary, adoption: Adoption) -> None:
    """The same with an environment that nothing is added to: the judge sees them."""
    async with LocalProcessManager(containment="subreaper") as manager:
        await lose_the_guard_of(manager, adversary, clear_env=True)
        assert adversary.traces


@pytest.mark.parametrize("adversary", ["daemon", "zoo"], indirect=True)
async def test_escapees_without_their_guard(containing: Mechanism, adversary: Adversary, adoption: Adoption) -> None:
    """Processes that cleared it are gone too if the containment claims that. Otherwise the judge sees them alive."""
    async with LocalProcessManager(containment=containing) as manager:
        await lose_the_guard_of(manager, adversary)
        assert bool(adversary.traces) == (not manager.containment.outlives_guard)


@pytest.mark.parametrize("adversary", ["session"], indirect=True)
async def test_mark_is_not_lost_with_what_a_child_is_given(
    containing: Mechanism, adversary: Adversary, adoption: Adoption, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Variables that are not inherited, since a child has a socket of its own for them, do not take it away."""
    monkeypatch.setenv("NOTIFY_SOCKET", "@nobody")
    monkeypatch.setenv("WATCHDOG_USEC", "1000000")
    async with LocalProcessManager(containment=containing) as manager:
        child = await manager.spawn_child(msgspec.structs.replace(adversary.params(), notify=True))
        await adversary.ready()
        kill_guard(child)
        await wait_for_the_end(manager, child.pid)
        assert not adversary.traces


async def test_no_mark_is_claimed_where_none_was_set(programs: Programs, adoption: Adoption) -> None:
    """With an environment that was given whole, the error says that there was none; control: else it says so."""
    async with LocalProcessManager(containment="subreaper") as manager:
        for clear_env in (True, False):
            child = await manager.spawn_child(SpawnParams(program=programs.tiny, clear_env=clear_env))
            kill_guard(child)
            with pytest.raises(GuardLost, match="without a mark" if clear_env else "carries its mark"):
                await manager.wait_for_exit(child.pid, PATIENCE)


async def test_loss_is_never_forgotten(programs: Programs, adoption: Adoption, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tree of which it was not proved is not called empty when a thousand others have ended since."""
    monkeypatch.setattr(registry, "_REMEMBERED", 3)
    async with LocalProcessManager(containment="subreaper") as manager:
        lost = await manager.spawn_child(SpawnParams(program=programs.tiny))
        kill_guard(lost)
        with pytest.raises(GuardLost):
            await manager.wait_for_exit(lost.pid, PATIENCE)
        others = [await manager.spawn_child(SpawnParams(programs.tiny, ("end",))) for _ in range(5)]
        for other in others:
            assert await manager.wait_for_exit(other.pid, PATIENCE)
        with pytest.raises(GuardLost):
            await manager.wait_for_exit(lost.pid, 0)
        assert not (await manager.wait_for_change(lost.pid)).empty
        assert await manager.wait_for_exit(others[0].pid, 0)


@pytest.mark.skipif("cgroup" not in CONTAINING, reason="no cgroup is to be had")
@pytest.mark.parametrize("clear", [False, True], ids=["marked", "cleared"])
async def test_process_that_left_its_cgroup(clear: bool, adoption: Adoption) -> None:
    """What can still be found by its mark is ended. Of what cannot, nothing is proved: the leaf is empty without it."""
    with another_cgroup() as other:
        move = f"echo $$ > {other}/cgroup.procs && echo moved && exec sleep 600"
        escape = f"setsid {'env -i ' if clear else ''}sh -c '{move}' & exec sleep 600"
        read, write = os.pipe()
        async with LocalProcessManager(containment="cgroup") as manager:
            child = await manager.spawn_child(SpawnParams("/bin/sh", ("-c", escape), stdout=write))
            os.close(write)
            assert await aside(lambda: os.read(read, 100)) == b"moved\n"
            (moved,) = map(int, Path(other, "cgroup.procs").read_text("ascii").split())
            kill_guard(child)
            if clear:
                with pytest.raises(GuardLost):
                    await manager.wait_for_exit(child.pid, PATIENCE)
                assert not has_ended(moved)
                os.kill(moved, signal.SIGKILL)
            else:
                assert await manager.wait_for_exit(child.pid, PATIENCE)
            assert has_ended(moved) or clear
        os.close(read)


async def test_loop_goes_on_while_the_rest_is_looked_for(
    containing: Mechanism, programs: Programs, adoption: Adoption, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking at all processes may take longer than a lease: a look that waits for the loop is not waited for by it."""
    probe = Worker("probe")
    if not probe.begin():
        pytest.skip("no thread can be started")
    probe.close()
    began, ticked = threading.Event(), threading.Event()
    look_once = ProcScanner.look

    def look_slowly(lookout: ProcScanner, every: Sequence[SearchTarget]) -> list[SearchTarget]:
        began.set()
        assert ticked.wait(PATIENCE), "the loop waits"
        return look_once(lookout, every)

    monkeypatch.setattr(ProcScanner, "look", look_slowly)
    async with LocalProcessManager(containment=containing) as manager:
        child = await manager.spawn_child(SpawnParams(program=programs.tiny))
        kill_guard(child)
        await until(began.is_set, "the rest is looked for")
        ticked.set()
        await wait_for_the_end(manager, child.pid)


def test_search_is_taken_up_on_another_loop(
    containing: Mechanism, programs: Programs, adoption: Adoption, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loop that ends cuts it short. Who waits for the tree on the next one is told all the same."""
    manager = LocalProcessManager(containment=containing)
    began = threading.Event()

    def look_in_vain(_: ProcScanner, every: Sequence[SearchTarget]) -> list[SearchTarget]:
        began.set()
        return list(every)

    async def lose() -> ChildHandle:
        child = await manager.spawn_child(SpawnParams(program=programs.tiny))
        kill_guard(child)
        await until(began.is_set, "the rest is looked for")
        return child

    async def go_on(child: ChildHandle) -> None:
        async with manager:
            await wait_for_the_end(manager, child.pid)

    with monkeypatch.context() as patch:
        patch.setattr(ProcScanner, "look", look_in_vain)
        child = asyncio.run(lose())
    asyncio.run(go_on(child))


async def test_no_thread_is_needed(
    containing: Mechanism, programs: Programs, adoption: Adoption, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a limit of processes the rest is looked for without the thread that else does it."""
    monkeypatch.setattr(threading.Thread, "start", mock.Mock(side_effect=RuntimeError("can't start new thread")))
    async with LocalProcessManager(containment=containing) as manager:
        child = await manager.spawn_child(SpawnParams(program=programs.tiny))
        kill_guard(child)
        await wait_for_the_end(manager, child.pid)


async def test_other_trees_are_not_touched(containing: Mechanism, programs: Programs, adoption: Adoption) -> None:
    """The loss of one guard concerns one tree; the manager goes on."""
    async with LocalProcessManager(containment=containing) as manager:
        one = await manager.spawn_child(SpawnParams(program=programs.tiny))
        two = await manager.spawn_child(SpawnParams(program=programs.tiny))
        kill_guard(one)
        await wait_for_the_end(manager, one.pid)
        three = await manager.spawn_child(SpawnParams(program=programs.tiny))
        assert [each.pid for each in await manager.list_children()] == [two.pid, three.pid]
        await manager.kill_tree(two.pid)
        assert await manager.wait_for_exit(two.pid, PATIENCE)


async def test_child_of_a_lost_tree_is_still_a_child(
    containing: Mechanism, programs: Programs, adoption: Adoption
) -> None:
    """A tree whose guard was lost settles after its children, which have guards of their own."""
    async with LocalProcessManager(containment=containing) as manager:
        top = await manager.spawn_child(SpawnParams(program=programs.tiny))
        below = await manager.spawn_child(SpawnParams(program=programs.tiny, parent=top.pid))
        kill_guard(top)
        await until(lambda: has_ended(top.os_pid), "the root died with its guard")
        assert not await manager.wait_for_exit(below.pid, 0)
        await manager.kill_tree(top.pid)
        assert await manager.wait_for_exit(below.pid, PATIENCE)
        await wait_for_the_end(manager, top.pid)
