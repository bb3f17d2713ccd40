"""Adversaries against a manager that lives: however its trees are ended, nothing is left of them, at once."""

from __future__ import annotations

import asyncio

import pytest

from treeguard import LocalProcessManager
from treeguard.types import Mechanism

from ..support.adoption import Adoption
from ..support.adversary import KINDS, Adversary
from ..support.judge import carriers, look
from ..support.patience import PATIENCE, until
from ..support.plans import plan
from ..support.programs import Programs

every_adversary = pytest.mark.parametrize("adversary", KINDS, indirect=True)
escaping = pytest.mark.parametrize("adversary", [name for name in KINDS if KINDS[name].escapes], indirect=True)
tame = pytest.mark.parametrize("adversary", [name for name in KINDS if not KINDS[name].escapes], indirect=True)


def nothing_is_left(adversary: Adversary, adoption: Adoption) -> None:
    """Now, not soon: no member, no zombie of one, no guard."""
    newcomers = adoption.newcomers()
    assert not newcomers
    assert not adversary.traces


@every_adversary
async def test_killed_tree_is_gone_when_it_is_reported_empty(
    containing: Mechanism, adversary: Adversary, adoption: Adoption
) -> None:
    """A tree that was killed is gone, reaped included, when its exit is told."""
    async with LocalProcessManager(containment=containing) as manager:
        child = await manager.spawn_child(adversary.params())
        await adversary.ready()
        await manager.kill_tree(child.pid)
        assert await manager.wait_for_exit(child.pid, PATIENCE)
        nothing_is_left(adversary, adoption)


@every_adversary
async def test_killed_while_it_is_growing(containing: Mechanism, adversary: Adversary, adoption: Adoption) -> None:
    """A tree that is killed before its members are in place is gone like any other."""
    async with LocalProcessManager(containment=containing) as manager:
        child = await manager.spawn_child(adversary.params())
        adversary.spawned()
        await manager.kill_tree(child.pid)
        assert await manager.wait_for_exit(child.pid, PATIENCE)
        nothing_is_left(adversary, adoption)


@every_adversary
async def test_leaving_the_manager_ends_its_trees(
    containing: Mechanism, adversary: Adversary, adoption: Adoption
) -> None:
    """Leaving a manager by return empties its trees."""
    async with LocalProcessManager(containment=containing) as manager:
        await manager.spawn_child(adversary.params())
        await adversary.ready()
    nothing_is_left(adversary, adoption)


@every_adversary
async def test_an_error_in_the_manager_ends_its_trees(
    containing: Mechanism, adversary: Adversary, adoption: Adoption
) -> None:
    """Leaving a manager by an error empties its trees, and raises that error."""

    async def fail() -> None:
        async with LocalProcessManager(containment=containing) as manager:
            await manager.spawn_child(adversary.params())
            await adversary.ready()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    nothing_is_left(adversary, adoption)


async def hold(containment: Mechanism, adversary: Adversary, ready: asyncio.Future[None]) -> None:
    """Holds a manager with a tree in it until it is cancelled."""
    async with LocalProcessManager(containment=containment) as manager:
        await manager.spawn_child(adversary.params())
        await adversary.ready()
        ready.set_result(None)
        await asyncio.Event().wait()


async def held(containment: Mechanism, adversary: Adversary) -> asyncio.Task[None]:
    """A task that holds a manager, with the tree in place."""
    ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(hold(containment, adversary, ready))
    await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
    assert not task.done()
    return task


@every_adversary
async def test_cancelling_the_holder_ends_its_trees(
    containing: Mechanism, adversary: Adversary, adoption: Adoption
) -> None:
    """Cancelling the task that holds a manager empties its trees before the cancellation is seen outside."""
    task = await held(containing, adversary)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    nothing_is_left(adversary, adoption)


@pytest.mark.parametrize("adversary", ["zoo"], indirect=True)
async def test_cancelling_again_and_again_ends_the_trees_all_the_same(
    containing: Mechanism, adversary: Adversary, adoption: Adoption
) -> None:
    """A holder that is cancelled while it is cleaning up still cleans up."""
    task = await held(containing, adversary)
    while not task.done():
        task.cancel()
        await asyncio.sleep(0)
    assert task.cancelled()
    nothing_is_left(adversary, adoption)


@every_adversary
async def test_ends_by_itself(containing: Mechanism, adversary: Adversary, adoption: Adoption) -> None:
    """A root that ends does not make its tree empty: the tree is told empty only when nothing is left of it."""
    async with LocalProcessManager(containment=containing) as manager:
        child = await manager.spawn_child(adversary.params())
        await adversary.ready()
        if KINDS[adversary.name].root_stays:
            assert not await manager.wait_for_exit(child.pid, 0)
        else:
            root = await manager.wait_for_root(child.pid, PATIENCE)
            assert root is not None
            assert root.code == 7
            assert not await manager.wait_for_exit(child.pid, 0.05)
            assert len(await manager.list_children()) == 1
        assert adversary.traces


async def reap_orphans(adoption: Adoption, root: int) -> None:
    """As an init does. A hydra's would fill the table of processes."""
    while True:
        adoption.reap(but={root})
        await asyncio.sleep(0.002)


@escaping
async def test_control_escapees_survive_a_process_group(adversary: Adversary, adoption: Adoption) -> None:
    """Against a process group alone the same adversaries leave escapees, and the judge sees them."""
    async with LocalProcessManager(containment="process_group") as manager:
        child = await manager.spawn_child(adversary.params())
        reaping = asyncio.create_task(reap_orphans(adoption, child.os_pid))
        await adversary.ready()
        await manager.kill_tree(child.pid)
        assert await manager.wait_for_exit(child.pid, PATIENCE)
        reaping.cancel()
    assert adoption.newcomers()
    assert adversary.traces


@tame
async def test_process_group_ends_who_stays_in_it(adversary: Adversary, adoption: Adoption) -> None:
    """A tree whose members stay in the root's group is ended by a process group too."""
    async with LocalProcessManager(containment="process_group") as manager:
        child = await manager.spawn_child(adversary.params())
        await adversary.ready()
        await manager.kill_tree(child.pid)
        assert await manager.wait_for_exit(child.pid, PATIENCE)
        # Orphans stay zombies until their new parent reaps them, which is this process: no group can do that.
        adoption.reap()
        nothing_is_left(adversary, adoption)


async def test_group_is_not_empty_while_one_lives_whose_main_thread_has_ended(
    programs: Programs, adoption: Adoption
) -> None:
    """All that is left of the group is shown as a zombie, but works."""
    with Adversary(programs, plan("x(z())")) as adversary:
        async with LocalProcessManager(containment="process_group") as manager:
            child = await manager.spawn_child(adversary.params())
            await adversary.ready()
            await until(lambda: _only_husks(adversary), "only the one is left")
            assert not await manager.wait_for_exit(child.pid, 0.2)
            await manager.kill_tree(child.pid)
            adoption.reap()
            assert await manager.wait_for_exit(child.pid, PATIENCE)
        adoption.reap()
        nothing_is_left(adversary, adoption)


def _only_husks(adversary: Adversary) -> bool:
    found = [seen for pid in carriers(adversary.marker) if (seen := look(pid)) is not None]
    return [seen.state for seen in found] == ["Z"]
