"""Leaving a manager: finished whatever is cancelled, by any number of callers. And managers that nobody leaves."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import sys
import warnings
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from treeguard import ControlServer, LocalProcessManager, SpawnParams, TreeNotEmpty
from treeguard._core import running
from treeguard._core.cgroup.cgroups import own_cgroup
from treeguard._core.engine.engine import Engine
from treeguard._core.native import NativeEngine
from treeguard._core.waiting import start_unlisted
from treeguard.types import Mechanism

from ..support.judge import children, descriptors, look
from ..support.patience import PATIENCE, until
from ..support.programs import Programs


def cgroups() -> set[Path]:
    """The cgroups of this process's managers, and of other processes' that run at the same time."""
    try:
        return set(own_cgroup().glob(f"treeguard.*.{os.getpid()}.*"))
    except FileNotFoundError:
        return set()


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """No process, no cgroup: at the end of a test, not soon after. Descriptors belong to loops as well."""
    family, made = set(children()), cgroups()
    yield
    assert set(children()) == family
    assert cgroups() == made


def cancel_all() -> int:
    """As a handler of SIGTERM does it; how many."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    return len(tasks)


@contextlib.contextmanager
def held_up() -> Iterator[None]:
    """In here no events are delivered, so that nothing is over: there is time to cancel in."""
    with mock.patch.object(NativeEngine, "take"):
        yield


@pytest.mark.parametrize("times", [1, 2, 7])
async def test_all_tasks_are_cancelled_while_it_is_left(mechanism: Mechanism, programs: Programs, times: int) -> None:
    """Once or several times: every tree is ended, and the cancellation is raised when that is done."""
    before = descriptors()
    manager = LocalProcessManager(containment=mechanism)

    async def use() -> None:
        async with manager:
            for _ in range(3):
                await manager.spawn_child(SpawnParams(programs.tiny))
            spawned.set()

    spawned = asyncio.Event()
    task = asyncio.ensure_future(use())
    await spawned.wait()
    with held_up():
        await until(lambda: manager._closed, "it is being left")
        for _ in range(times):
            assert cancel_all() == 1
            await asyncio.sleep(0)
            assert not task.done()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not descriptors().items() - before.items()
    await manager.close()


async def test_control_a_task_that_is_listed_is_cancelled() -> None:
    """Control: what is no hidden task would not have been finished."""
    listed = asyncio.ensure_future(asyncio.sleep(PATIENCE))
    unlisted = start_unlisted(asyncio.sleep(0.001, "done"))
    await asyncio.sleep(0)
    assert cancel_all() == 1
    assert await unlisted == "done"
    with pytest.raises(asyncio.CancelledError):
        await listed


async def test_what_leaving_does_is_cancelled_itself(mechanism: Mechanism, programs: Programs) -> None:
    """Whoever gets hold of the task that does it and cancels that: it is begun again, and finished."""
    made: list[asyncio.Task[Any]] = []

    def seen(work: Any, void: Any) -> asyncio.Task[Any]:
        made.append(start_unlisted(work, void))
        return made[-1]

    async with LocalProcessManager(containment=mechanism) as manager:
        await manager.spawn_child(SpawnParams(programs.tiny))
        with mock.patch("treeguard._core.waiting.start_unlisted", seen):
            with held_up():
                task = asyncio.ensure_future(manager.close())
                for cancelled in range(3):
                    await until(lambda n=cancelled: len(made) > n, "it goes on")  # type: ignore[misc]
                    made[-1].cancel()
            await task
    assert len(made) == 4


async def test_many_leave_at_once(mechanism: Mechanism, programs: Programs) -> None:
    """Each of them returns when it is done, also those that were cancelled, and not before."""
    manager = LocalProcessManager(containment=mechanism)
    child = await manager.spawn_child(SpawnParams(programs.tiny))
    with held_up():
        tasks = [asyncio.ensure_future(manager.close()) for _ in range(5)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        for _ in range(5):
            await asyncio.sleep(0)
            assert not any(task.done() for task in tasks)
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    assert child.os_pid not in children()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(each) for each in results] == [asyncio.CancelledError, type(None)] * 2 + [asyncio.CancelledError]
    assert await manager.wait_for_exit(child.pid, 0)


async def test_all_who_leave_hear_of_what_survives(programs: Programs) -> None:
    """Whoever was waiting gets the error. Who leaves it again later has nothing to wait for."""
    manager = LocalProcessManager(containment="subreaper")
    child = await manager.spawn_child(SpawnParams(programs.tiny))
    with mock.patch.object(running, "LEAVE_TIMEOUT", 0.05), mock.patch.object(Engine, "kill"):
        results = await asyncio.gather(*(manager.close() for _ in range(3)), return_exceptions=True)
    assert [type(each) for each in results] == [TreeNotEmpty] * 3
    assert str(child.pid) in str(results[0])
    await manager.close()
    with pytest.raises(TreeNotEmpty):
        await manager.wait_for_root(child.pid, 0)
    # Without its lifeline a guard ends its tree, and nobody but this process is left to wait for it.
    await until(lambda: all(seen.state == "Z" for seen in children().values()), "the guard has ended")
    for pid in children():
        os.waitpid(pid, os.WNOHANG)  # noqa: ASYNC222 - it has ended


def test_a_loop_that_is_stopped_while_it_is_left(mechanism: Mechanism, programs: Programs) -> None:
    """It is finished when the loop goes on; on another loop, if it never does."""
    for goes_on in (True, False):
        loop = asyncio.new_event_loop()
        manager = LocalProcessManager(containment=mechanism)
        loop.run_until_complete(manager.spawn_child(SpawnParams(programs.tiny)))
        task = loop.create_task(manager.close())
        loop.call_soon(loop.stop)
        loop.run_forever()
        assert not task.done()
        if goes_on:
            loop.run_until_complete(task)
        else:
            task.cancel()
            loop.call_soon(loop.stop)
            loop.run_forever()
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        loop.close()
        asyncio.run(manager.close())


def test_the_end_of_asyncio_run(mechanism: Mechanism, programs: Programs) -> None:
    """A task that is in a manager when the main one returns has left it when ``asyncio.run`` returns."""
    ended: list[bool] = []

    async def main() -> None:
        up = asyncio.Event()

        async def use() -> None:
            async with LocalProcessManager(containment=mechanism) as manager:
                child = await manager.spawn_child(SpawnParams(programs.tiny))
                up.set()
                try:
                    await manager.wait_for_exit(child.pid)
                finally:
                    await manager.close()
                    ended.append(await manager.wait_for_exit(child.pid, 0))

        tasks.append(asyncio.ensure_future(use()))
        await up.wait()

    tasks: list[asyncio.Task[None]] = []
    asyncio.run(main())
    assert ended == [True]
    assert tasks[0].cancelled()


# Dropped.


async def nothing_more(manager: LocalProcessManager, programs: Programs) -> object:
    """Entered, and no more."""
    return None


async def a_child(manager: LocalProcessManager, programs: Programs) -> object:
    """After a spawn."""
    return await manager.spawn_child(SpawnParams(programs.tiny))


async def a_family(manager: LocalProcessManager, programs: Programs) -> object:
    """A child that belongs to another."""
    parent = await manager.spawn_child(SpawnParams(programs.tiny))
    return await manager.spawn_child(SpawnParams(programs.tiny, parent=parent.pid))


async def given_sockets(manager: LocalProcessManager, programs: Programs) -> object:
    """With a control connection and, where there are any, notifications."""
    return await manager.spawn_child(SpawnParams(programs.tiny, control=True, notify=sys.platform == "linux"))


async def waited_for(manager: LocalProcessManager, programs: Programs) -> object:
    """While a caller waits that the application no longer holds."""
    child = await manager.spawn_child(SpawnParams(programs.tiny))
    for timeout in (None, 60):
        task = asyncio.ensure_future(manager.wait_for_exit(child.pid, timeout))
        task._log_destroy_pending = False  # type: ignore[attr-defined]
    await asyncio.sleep(0)
    return child


async def is_collected(
    containment: Mechanism, use: Callable[[Any, Programs], Any], programs: Programs, **options: Any
) -> None:
    """A manager that is used so and dropped ends its trees at the moment in which it is collected, the loop running."""
    family, before, made = set(children()), descriptors(), cgroups()
    manager = LocalProcessManager(containment=containment, control=ControlServer(), **options)
    await manager.__aenter__()
    child = await use(manager, programs)
    assert (child is None) == (set(children()) == family)
    gone = weakref.ref(manager)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del manager
        gc.collect()
    assert [each.category for each in caught if "treeguard" in str(each.message)] == [ResourceWarning]
    # They name their source.
    caught.clear()
    gc.collect()
    assert gone() is None
    assert set(children()) == family
    assert cgroups() == made
    # The loop goes on, and has nothing to do with it any more.
    await asyncio.sleep(0)
    assert not descriptors().items() - before.items()


USES = [nothing_more, a_child, a_family, given_sockets, waited_for]


@pytest.mark.parametrize("use", USES)
async def test_dropped_while_its_loop_runs(
    mechanism: Mechanism, use: Callable[[Any, Programs], Any], programs: Programs
) -> None:
    """A manager that nobody refers to any more is collected although its loop runs, and ends its trees."""
    await is_collected(mechanism, use, programs)


@pytest.mark.parametrize("use", USES)
async def test_dropped_with_a_lease(
    containing: Mechanism, use: Callable[[Any, Programs], Any], programs: Programs
) -> None:
    """The timer that keeps the lease does not keep the manager."""
    await is_collected(containing, use, programs, lease=60.0)


@pytest.mark.parametrize("use", USES)
def test_dropped_under_uvloop(
    mechanism: Mechanism, use: Callable[[Any, Programs], Any], programs: Programs, uvloop: Any
) -> None:
    """The same on uvloop."""
    loop = uvloop.new_event_loop()
    try:
        loop.run_until_complete(is_collected(mechanism, use, programs))
    finally:
        loop.close()


async def test_trees_are_ended_where_the_warning_is_an_error(mechanism: Mechanism, programs: Programs) -> None:
    """``-W error`` does not keep a collected manager from ending its trees."""
    family = set(children())
    manager = LocalProcessManager(containment=mechanism)
    await manager.spawn_child(SpawnParams(programs.tiny))
    unraisable: list[type[BaseException] | None] = []
    with mock.patch.object(sys, "unraisablehook", lambda hook: unraisable.append(hook.exc_type)):
        del manager
        gc.collect()
    assert unraisable == [ResourceWarning]
    assert set(children()) == family


async def test_dropped_while_it_was_being_left(mechanism: Mechanism, programs: Programs) -> None:
    """Leaving that was given up, because whatever it did failed, leaves its trees to the end of the manager."""
    manager = LocalProcessManager(containment=mechanism)
    await manager.spawn_child(SpawnParams(programs.tiny))
    with mock.patch.object(Engine, "mend", side_effect=MemoryError), pytest.raises(MemoryError):
        await manager.close()
    assert children()
    await manager.close()


def test_left_on_another_loop_than_one_that_was_not_closed(mechanism: Mechanism, programs: Programs) -> None:
    """A loop that runs no more is followed from, closed or not."""
    manager, first = LocalProcessManager(containment=mechanism), asyncio.new_event_loop()
    try:
        child = first.run_until_complete(manager.spawn_child(SpawnParams(program=programs.tiny)))
        asyncio.run(asyncio.wait_for(manager.close(), PATIENCE))
        assert look(child.os_pid) is None
    finally:
        first.close()
