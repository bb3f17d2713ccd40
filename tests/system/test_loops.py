"""Where a manager may be used: any thread's loop, several at once, under uvloop, and not in a forked copy."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import pickle
import select
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest

from treeguard import ChildHandle, ConnectionId, LocalProcessManager, ProgramNotFound, SpawnParams
from treeguard._core.containment.host import System
from treeguard._core.engine.engine import Core
from treeguard._core.native import NativeEngine, NativeTree
from treeguard.errors import NotOwner
from treeguard.types import Mechanism

from ..support import hosts
from ..support.apart import run_apart
from ..support.judge import children, descriptors, look
from ..support.patience import LIFETIME, PATIENCE, wait_until
from ..support.programs import Programs

T = TypeVar("T")

#: Forking with threads about is what these tests are for; this interpreter may warn of it.
forks = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")


def in_thread(function: Callable[[], T]) -> T:
    """Calls in a thread, which has ended when this returns."""
    results: list[T] = []
    errors: list[BaseException] = []

    def call() -> None:
        try:
            results.append(function())
        except BaseException as e:
            errors.append(e)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join(2 * PATIENCE)
    assert not thread.is_alive()
    if errors:
        raise errors[0]
    return results[0]


async def whole_life(containment: Mechanism, program: str) -> None:
    """A manager with two trees that are spawned, looked at, ended, and gone."""
    family = set(children())
    async with LocalProcessManager(containment=containment) as manager:
        one = await manager.spawn_child(SpawnParams(program=program))
        two = await manager.spawn_child(SpawnParams(program=program, parent=one.pid))
        assert [each.pid for each in await manager.list_children()] == [one.pid, two.pid]
        await manager.terminate_tree(two.pid, False)
        assert await manager.wait_for_exit(two.pid, PATIENCE)
        assert not await manager.wait_for_exit(one.pid, 0.002)
        await manager.kill_tree(one.pid)
        assert await manager.wait_for_exit(one.pid, PATIENCE)
        three = await manager.spawn_child(SpawnParams(program=program))
    assert await manager.wait_for_exit(three.pid, 0)
    if threading.current_thread() is threading.main_thread():
        assert set(children()) == family


def under_uvloop(uvloop: Any, work: Coroutine[Any, Any, None]) -> None:
    """Runs on a uvloop loop."""
    loop = uvloop.new_event_loop()
    try:
        loop.run_until_complete(work)
    finally:
        loop.close()


def test_under_uvloop(mechanism: Mechanism, programs: Programs, uvloop: Any) -> None:
    """A manager lives its life on uvloop as on asyncio's own loop."""
    under_uvloop(uvloop, whole_life(mechanism, programs.tiny))


def test_under_uvloop_in_a_thread(mechanism: Mechanism, programs: Programs, uvloop: Any) -> None:
    """The same in another thread than the main one."""
    in_thread(lambda: under_uvloop(uvloop, whole_life(mechanism, programs.tiny)))


class _Late(NativeEngine):
    """Comes back from a start when the root has ended, and the loop has had the time to look."""

    def spawn(self, *arguments: Any, **options: Any) -> NativeTree:
        tree = super().spawn(*arguments, **options)
        wait_until(lambda: (seen := look(tree.pid)) is None or seen.state == "Z", "it has ended")
        looked = select.poll()
        looked.register(self, select.POLLIN)
        deadline = time.monotonic() + 0.1
        while looked.poll(1) and time.monotonic() < deadline:
            pass
        return tree


class _LateSystem(System):
    def open_core(self) -> Core:
        return _Late()


class _LateManager(LocalProcessManager):
    _host = _LateSystem


def test_start_in_a_thread_is_told_however_soon_it_ends() -> None:
    """What is started by another thread than the loop's may have ended before that one is back: nothing is missed."""

    async def fail() -> None:
        async with _LateManager(containment="process_group") as manager:
            with pytest.raises(ProgramNotFound):
                await asyncio.wait_for(manager.spawn_child(SpawnParams("/nonexistent")), PATIENCE)

    in_thread(lambda: asyncio.run(fail()))


def test_in_threads_at_once(mechanism: Mechanism, programs: Programs) -> None:
    """Managers of several threads' loops do not disturb each other."""
    errors: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(5):
                asyncio.run(whole_life(mechanism, programs.tiny))
        except BaseException as e:
            errors.append(e)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


async def test_several_managers_on_one_loop(mechanism: Mechanism, programs: Programs) -> None:
    """Managers on one loop, of one mechanism or several, do not disturb each other."""
    await asyncio.gather(*(whole_life_of_many(each, programs.tiny) for each in (mechanism, mechanism, "process_group")))


async def whole_life_of_many(containment: Mechanism, program: str) -> None:
    """A manager with more trees, of which those of others are none."""
    async with LocalProcessManager(containment=containment) as manager:
        handles = [await manager.spawn_child(SpawnParams(program=program)) for _ in range(10)]
        await asyncio.sleep(0)
        assert await manager.list_children() == handles
        for each in handles[::2]:
            await manager.kill_tree(each.pid)
            assert await manager.wait_for_exit(each.pid, PATIENCE)
        assert await manager.list_children() == handles[1::2]


def test_tree_outlives_the_thread_it_was_spawned_from(mechanism: Mechanism, programs: Programs) -> None:
    """A tree that was spawned from a thread's loop lives on when both have ended, and is killed from another loop."""
    manager = LocalProcessManager(containment=mechanism)

    async def spawn() -> ChildHandle:
        return await manager.spawn_child(SpawnParams(program=programs.tiny))

    child = in_thread(lambda: asyncio.run(spawn()))
    root = look(child.os_pid)
    assert root is not None
    assert root.state != "Z"

    async def end() -> None:
        async with manager:
            assert not await manager.wait_for_exit(child.pid, 0.05)
            assert await manager.list_children() == [child]
            await manager.kill_tree(child.pid)
            assert await manager.wait_for_exit(child.pid, PATIENCE)
            again = await manager.spawn_child(SpawnParams(program=programs.tiny))
            assert await manager.list_children() == [again]

    asyncio.run(end())
    assert look(child.os_pid) is None


def test_tree_that_ends_between_two_loops_is_told_on_the_second(mechanism: Mechanism, programs: Programs) -> None:
    """What happens to a tree while no loop runs is told on the next one."""
    manager = LocalProcessManager(containment=mechanism)

    async def spawn() -> ChildHandle:
        return await manager.spawn_child(SpawnParams(program=programs.tiny))

    child = asyncio.run(spawn())
    os.kill(child.os_pid, signal.SIGTERM)

    async def hear() -> None:
        async with manager:
            assert await manager.wait_for_exit(child.pid, PATIENCE)
            root = await manager.wait_for_root(child.pid)
            assert root is not None
            assert root.signal == signal.SIGTERM

    asyncio.run(hear())


async def test_second_loop_is_refused_while_the_first_lives(mechanism: Mechanism, programs: Programs) -> None:
    """A manager in use on one loop is refused on another, and goes on on its own."""
    async with LocalProcessManager(containment=mechanism) as manager:
        child = await manager.spawn_child(SpawnParams(program=programs.tiny))
        with pytest.raises(NotOwner):
            await asyncio.to_thread(lambda: asyncio.run(manager.kill_tree(child.pid)))
        assert not await manager.wait_for_exit(child.pid, 0.01)


def in_forked_copy(function: Callable[[], T]) -> T:
    """Calls in a copy of this process made by fork, which then ends without any cleaning up."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            try:
                answer: tuple[bool, Any] = (True, function())
            except BaseException as e:
                answer = (False, repr(e))
            os.write(write, pickle.dumps(answer))
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as answers:
        told = answers.read()
    os.waitpid(pid, 0)
    fine, answer_ = pickle.loads(told)
    assert fine, answer_
    result: T = answer_
    return result


def at_once(work: Coroutine[Any, Any, object]) -> str:
    """Steps a coroutine without a loop. The name of what it raises."""
    try:
        work.send(None)
    except BaseException as e:
        return type(e).__name__
    finally:
        work.close()
    return "waits"


def everything_fails(manager: LocalProcessManager, child: ChildHandle, program: str) -> set[str]:
    """What the calls of a manager raise."""
    calls: list[Coroutine[Any, Any, object]] = [
        manager.kill_tree(child.pid),
        manager.terminate_tree(child.pid, False),
        manager.wait_for_exit(child.pid, 0),
        manager.wait_for_root(child.pid, 0),
        manager.list_children(),
        manager.attach_connection(child.pid, ConnectionId(uuid.uuid4())),
        manager.spawn_child(SpawnParams(program=program)),
    ]
    return {at_once(call) for call in calls}


@forks
async def test_forked_copy_is_inert(mechanism: Mechanism, programs: Programs) -> None:
    """In a forked copy of the process every call says that the manager is another's, and the tree lives on."""
    async with LocalProcessManager(containment=mechanism) as manager:
        child = await manager.spawn_child(SpawnParams(program=programs.tiny))
        assert in_forked_copy(lambda: everything_fails(manager, child, programs.tiny)) == {"NotOwner"}
        assert not await manager.wait_for_exit(child.pid, 0.02)
        await manager.kill_tree(child.pid)
        assert await manager.wait_for_exit(child.pid, PATIENCE)


@forks
async def test_leaving_a_forked_copy_disturbs_nothing(mechanism: Mechanism, programs: Programs) -> None:
    """A copy that is left, dropped and collected in the forked process leaves the original's trees and events alone."""
    async with LocalProcessManager(containment=mechanism) as manager:
        child = await manager.spawn_child(SpawnParams(program=programs.tiny))
        waiting = asyncio.create_task(manager.wait_for_exit(child.pid, PATIENCE))
        await asyncio.sleep(0)

        def leave() -> str:
            outcome = at_once(manager.__aexit__(None, None, None))
            manager.__del__()
            return outcome

        assert in_forked_copy(leave) == "StopIteration"
        assert not await manager.wait_for_exit(child.pid, 0.02)
        other = await manager.spawn_child(SpawnParams(program=programs.tiny))
        os.kill(child.os_pid, signal.SIGKILL)
        assert await waiting
        assert await manager.list_children() == [other]


@forks
async def test_forked_copy_holds_no_descriptor_of_ours(mechanism: Mechanism, programs: Programs) -> None:
    """A forked copy has let go of what belongs to the original's trees."""
    before = descriptors()
    async with LocalProcessManager(containment=mechanism) as manager:
        for _ in range(3):
            await manager.spawn_child(SpawnParams(program=programs.tiny))
        ours = descriptors().items() - before.items()
        kept = ours & in_forked_copy(descriptors).items()
    assert ours
    # A mechanism may keep a directory open, which holds nobody up.
    assert len(kept) <= (1 if mechanism == "cgroup" else 0), kept


@forks
def test_forked_process_has_managers_of_its_own(mechanism: Mechanism, programs: Programs) -> None:
    """A forked process may have managers of its own, while the original's goes on."""

    async def around() -> None:
        async with LocalProcessManager(containment=mechanism) as manager:
            child = await manager.spawn_child(SpawnParams(program=programs.tiny))
            process = multiprocessing.get_context("fork").Process(target=work)
            process.start()
            process.join(PATIENCE)
            code = process.exitcode
            process.close()
            assert code == 0
            assert await manager.list_children() == [child]

    def work() -> None:
        asyncio.run(whole_life(mechanism, programs.tiny))

    asyncio.run(around())


@forks
async def test_many_forks_while_spawning(mechanism: Mechanism, programs: Programs) -> None:
    """Copies that are forked at any moment of a spawn, and live on, keep no tree alive."""
    stop = threading.Event()
    copies: list[int] = []

    def fork_on() -> None:
        while not stop.is_set():
            pid = os.fork()
            if pid == 0:
                signal.alarm(int(LIFETIME))
                while True:
                    signal.pause()
            copies.append(pid)
            if len(copies) > 50:
                break

    thread = threading.Thread(target=fork_on)
    try:
        async with LocalProcessManager(containment=mechanism) as manager:
            thread.start()
            for _ in range(30):
                child = await manager.spawn_child(SpawnParams(program=programs.tiny))
                await manager.kill_tree(child.pid)
                assert await manager.wait_for_exit(child.pid, PATIENCE)
            await manager.spawn_child(SpawnParams(program=programs.tiny))
    finally:
        stop.set()
        await asyncio.to_thread(thread.join)
        for pid in copies:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)  # noqa: ASYNC222 - it is dead


@pytest.mark.parametrize("host", [hosts.ignores_sigchld, hosts.reaps_in_a_thread, hosts.reaps_in_a_handler])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_hosts_that_reap_by_themselves(
    mechanism: Mechanism, programs: Programs, host: Callable[..., None], loop: str
) -> None:
    """In a host that ignores SIGCHLD, or waits for any child, trees are spawned, ended and known to be empty."""
    if loop == "uvloop":
        pytest.importorskip("uvloop")
        if host is not hosts.ignores_sigchld:
            pytest.skip("the loop makes no difference")
    run_apart(host, mechanism, programs.tiny, loop)


@pytest.mark.skipif(sys.platform != "linux", reason="descriptors are looked at in /proc")
def test_host_without_standard_streams(mechanism: Mechanism, programs: Programs) -> None:
    """A host that has closed its standard streams spawns, and its trees' descriptors do not take their places."""
    run_apart(hosts.closes_standard_streams, mechanism, programs.tiny)


def test_host_that_closes_its_input(mechanism: Mechanism, programs: Programs) -> None:
    """What guards are given gets no number of a standard stream, where a child's own would be put in its place."""
    run_apart(hosts.closes_input_later, mechanism, programs.tiny)
