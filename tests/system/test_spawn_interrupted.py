"""A start that raises what nobody expected ends the spawn; signals of real time; roots of which nobody knows."""

from __future__ import annotations

import asyncio
import signal
import threading
from unittest import mock

import pytest

from treeguard import LocalProcessManager, RootExit, SpawnParams
from treeguard._core.engine.engine import Engine
from treeguard._core.native import NativeEngine
from treeguard._core.trees import registry
from treeguard.errors import ProcessLimitReached
from treeguard.types import Mechanism

from ..support.judge import children
from ..support.patience import PATIENCE
from ..support.programs import Programs


class Interruption(BaseException):
    """Such as KeyboardInterrupt, but that the loop does not end for it."""


@pytest.mark.parametrize("error", [Interruption, MemoryError, RuntimeError])
@pytest.mark.parametrize("started", [True, False])
async def test_a_start_that_raises(
    mechanism: Mechanism, programs: Programs, error: type[BaseException], started: bool
) -> None:
    """Before anything was started, or right after: it is raised, nothing is left, and the manager can be left."""
    family = set(children())
    spawn = Engine.spawn

    def broken(self: Engine, *arguments: object, **options: object) -> None:
        if started:
            spawn(self, *arguments, **options)  # type: ignore[arg-type]
        raise error

    async with LocalProcessManager(containment=mechanism) as manager:
        with mock.patch.object(Engine, "spawn", broken), pytest.raises(error):
            await asyncio.wait_for(manager.spawn_child(SpawnParams(programs.tiny)), PATIENCE)
        assert await manager.list_children() == []
        assert set(children()) == family
        child = await manager.spawn_child(SpawnParams(programs.tiny))
        await manager.kill_tree(child.pid)
        assert await manager.wait_for_exit(child.pid, PATIENCE)


async def test_an_exception_right_after_the_core_has_started_a_tree(mechanism: Mechanism, programs: Programs) -> None:
    """As an interrupt that came during the call is raised: the tree is known all the same, and ended."""
    family = set(children())
    spawn = NativeEngine.spawn

    def interrupted(self: NativeEngine, *arguments: object, **options: object) -> None:
        spawn(self, *arguments, **options)  # type: ignore[arg-type]
        raise Interruption

    async with LocalProcessManager(containment=mechanism) as manager:
        with mock.patch.object(NativeEngine, "spawn", interrupted), pytest.raises(Interruption):
            await manager.spawn_child(SpawnParams(programs.tiny))
        assert set(children()) == family


def test_no_thread_to_start_from(programs: Programs) -> None:
    """Where a loop is not the main thread's and no other can be had, that is a limit on processes."""
    errors: list[BaseException] = []

    async def fail() -> None:
        async with LocalProcessManager(containment="process_group") as manager:
            with mock.patch.object(threading.Thread, "start", side_effect=RuntimeError("can't start new thread")):
                try:
                    await manager.spawn_child(SpawnParams(programs.tiny))
                except ProcessLimitReached as e:
                    errors.append(e)

    thread = threading.Thread(target=lambda: asyncio.run(fail()))
    thread.start()
    thread.join(PATIENCE)
    assert [type(e) for e in errors] == [ProcessLimitReached]


async def test_signals_of_real_time(mechanism: Mechanism, programs: Programs) -> None:
    """All that a process can be sent are taken; what is none names the argument."""
    async with LocalProcessManager(containment=mechanism) as manager:
        for number in (signal.SIGRTMIN, signal.SIGRTMIN + 3, signal.SIGRTMAX):
            child = await manager.spawn_child(SpawnParams(programs.tiny))
            await manager.signal_tree(child.pid, number)
            root = await manager.wait_for_root(child.pid, PATIENCE)
            assert root is not None
            assert root.signal == number
        child = await manager.spawn_child(SpawnParams(programs.tiny))
        for bad in (0, -1, signal.NSIG, 10**9, True):
            with pytest.raises(ValueError, match=r"^signal must be"):
                await manager.signal_tree(child.pid, bad)


async def test_a_root_that_is_forgotten_is_not_one_that_is_late(
    programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None: not in time. A root that ended too long ago has ended, nobody knows how."""
    monkeypatch.setattr(registry, "_REMEMBERED", 1)
    async with LocalProcessManager(containment="subreaper") as manager:
        late, *ended = [await manager.spawn_child(SpawnParams(programs.tiny)) for _ in range(3)]
        for one in ended:
            await manager.kill_tree(one.pid)
            assert await manager.wait_for_exit(one.pid, PATIENCE)
        assert await manager.wait_for_root(late.pid, 0) is None
        assert await manager.wait_for_root(ended[0].pid, 0) == RootExit()
        root = await manager.wait_for_root(ended[1].pid, 0)
        assert root is not None
        assert root.signal == signal.SIGKILL
