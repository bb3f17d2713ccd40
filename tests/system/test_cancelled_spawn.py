"""A spawn that is cancelled, at whatever moment, has left nothing when the cancellation is seen."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any
from unittest import mock

import pytest

from treeguard import ChildHandle, LocalProcessManager, SpawnParams
from treeguard._core import native
from treeguard._core.engine.engine import Engine
from treeguard.types import Mechanism

from ..support.judge import children
from ..support.patience import PATIENCE
from ..support.programs import Programs

Cancel = Callable[["asyncio.Task[ChildHandle]"], Awaitable[None]]


def on_main(work: Coroutine[Any, Any, None]) -> None:
    """Runs on a loop of the main thread."""
    asyncio.run(work)


def on_thread(work: Coroutine[Any, Any, None]) -> None:
    """Runs on a loop of another thread, where a process group's root is started through a third."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(work)
        except BaseException as e:
            errors.append(e)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]


everywhere = pytest.mark.parametrize("run", [on_main, on_thread])


async def attempt(manager: LocalProcessManager, params: SpawnParams, cancel: Cancel) -> bool:
    """One spawn and its cancellation. Whether it was over before that."""
    family = set(children())
    task = asyncio.create_task(manager.spawn_child(params))
    await cancel(task)
    try:
        child = await task
    except asyncio.CancelledError:
        assert await manager.list_children() == []
        left = {pid: seen for pid, seen in children().items() if pid not in family}
        assert not left
        return False
    await manager.kill_tree(child.pid)
    assert await manager.wait_for_exit(child.pid, PATIENCE)
    return True


@everywhere
def test_cancelled_after_any_number_of_steps(
    mechanism: Mechanism, programs: Programs, run: Callable[[Coroutine[Any, Any, None]], None]
) -> None:
    """However many turns of the loop a spawn was given before it is cancelled, nothing is left of it."""

    async def work() -> None:
        async with LocalProcessManager(containment=mechanism) as manager:
            steps, over = 0, 0
            while over < 3:
                count = steps

                async def after_steps(task: asyncio.Task[ChildHandle], count: int = count) -> None:
                    for _ in range(count):
                        await asyncio.sleep(0)
                    task.cancel()

                over += await attempt(manager, SpawnParams(program=programs.tiny), after_steps)
                steps += 1 + steps // 8

    run(work())


@everywhere
def test_cancelled_at_any_moment(
    mechanism: Mechanism, programs: Programs, run: Callable[[Coroutine[Any, Any, None]], None]
) -> None:
    """Whenever a spawn is cancelled, once or repeatedly, nothing is left of it."""

    async def work() -> None:
        chance = random.Random(1)
        async with LocalProcessManager(containment=mechanism) as manager:
            for i in range(60):
                delay = chance.uniform(0, 0.0015)

                async def after_delay(
                    task: asyncio.Task[ChildHandle], delay: float = delay, again: bool = i % 2 == 0
                ) -> None:
                    await asyncio.wait({task}, timeout=delay)
                    while not task.done():
                        task.cancel()
                        await asyncio.sleep(0)
                        if not again:
                            break

                await attempt(manager, SpawnParams(program=programs.tiny), after_delay)

    run(work())


@everywhere
def test_many_cancelled_together(
    mechanism: Mechanism, programs: Programs, run: Callable[[Coroutine[Any, Any, None]], None]
) -> None:
    """Of a hundred spawns under way together, those that are cancelled leave nothing and the others live."""

    async def work() -> None:
        family = set(children())
        async with LocalProcessManager(containment=mechanism) as manager:
            tasks = [asyncio.create_task(manager.spawn_child(SpawnParams(program=programs.tiny))) for _ in range(100)]
            await asyncio.sleep(0)
            for task in tasks[::2]:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            living = {each.pid for each in results if isinstance(each, ChildHandle)}
            assert not [each for each in results if not isinstance(each, ChildHandle | asyncio.CancelledError)]
            assert {child.pid for child in await manager.list_children()} == living
            assert len(set(children()) - family) == len(living)
        assert set(children()) == family

    run(work())


@everywhere
def test_cancelled_while_it_fails(
    mechanism: Mechanism, programs: Programs, run: Callable[[Coroutine[Any, Any, None]], None]
) -> None:
    """A spawn that is cancelled in the moment in which it fails comes to an end, and its manager can be left."""

    def refuse(*_: object, **__: object) -> None:
        raise native.CoreError("clone", 11)

    async def work() -> None:
        async with LocalProcessManager(containment=mechanism) as manager:
            with mock.patch.object(Engine, "spawn", refuse):
                task = asyncio.create_task(manager.spawn_child(SpawnParams(program=programs.tiny)))
                await asyncio.sleep(0)
                task.cancel()
                done, _ = await asyncio.wait({task}, timeout=PATIENCE)
                assert done
                with contextlib.suppress(asyncio.CancelledError, BlockingIOError):
                    await task
            assert await manager.list_children() == []

    run(work())


async def test_timeout_of_a_spawn(mechanism: Mechanism, programs: Programs) -> None:
    """``asyncio.wait_for`` around a spawn is a cancellation like any other."""
    family = set(children())
    async with LocalProcessManager(containment=mechanism) as manager:
        for timeout in (0, 0.0001, 0.0005):
            with contextlib.suppress(asyncio.TimeoutError):
                child = await asyncio.wait_for(manager.spawn_child(SpawnParams(program=programs.tiny)), timeout)
                await manager.kill_tree(child.pid)
                assert await manager.wait_for_exit(child.pid, PATIENCE)
            assert set(children()) == family
