"""A tree as an object: what its verbs do is what the manager's do."""

from __future__ import annotations

import asyncio
import os
import signal
import uuid

import pytest

from treeguard import GuardLost, LocalProcessManager, ProcessId, Tree, UnknownProcess
from treeguard._core.native_processes import adopts
from treeguard.types import Mechanism

from ..support.adoption import Adoption
from ..support.adversary import Adversary
from ..support.judge import look
from ..support.patience import PATIENCE, until
from ..support.programs import Programs


async def test_a_spawn_returns_the_tree(mechanism: Mechanism, programs: Programs) -> None:
    """With the program's arguments one by one, and the other parameters as keywords."""
    async with LocalProcessManager(containment=mechanism) as manager:
        tree = await manager.spawn("/bin/sh", "-c", 'exit "$CODE"', env={"CODE": "7"}, kind="io")
        assert (tree.kind, tree.handle.pid, tree.handle.os_pid) == ("io", tree.id, tree.pid)
        assert tree.containment == manager.containment
        assert await tree.wait() == 7
        assert tree.returncode == 7
        assert tree.exit is not None
        assert tree.exit.code == 7
        assert await tree.wait_empty(PATIENCE)
        assert await tree.members() == ()
        assert repr(tree) == f"<Tree /bin/sh pid={tree.pid} empty>"


async def test_trees_are_found_by_their_ids(mechanism: Mechanism, programs: Programs) -> None:
    """Living and ended ones; what was never issued is an error."""
    async with LocalProcessManager(containment=mechanism) as manager:
        tree = await manager.spawn(programs.tiny)
        assert (manager.tree(tree.id).pid, manager.tree(tree.id).returncode) == (tree.pid, None)
        tree.kill()
        assert await tree.wait_empty(PATIENCE)
        assert manager.tree(tree.id).returncode == -signal.SIGKILL
        with pytest.raises(UnknownProcess):
            manager.tree(ProcessId(uuid.uuid4()))


async def test_returncode_is_none_until_the_root_has_ended(mechanism: Mechanism, programs: Programs) -> None:
    """One value for one fact: it is not there yet, or it is a number."""
    async with LocalProcessManager(containment=mechanism) as manager, await manager.spawn(programs.tiny) as tree:
        assert (tree.returncode, tree.exit) == (None, None)
        assert not await tree.wait_empty(0)
        waiting = asyncio.ensure_future(tree.wait())
        tree.terminate()
        assert await waiting == tree.returncode == -signal.SIGTERM


def test_signals_need_no_running_loop(mechanism: Mechanism, programs: Programs) -> None:
    """An application calls them between two runs of its loop."""
    with asyncio.Runner() if hasattr(asyncio, "Runner") else pytest.skip("asyncio.Runner is of Python 3.11") as runner:
        manager = LocalProcessManager(containment=mechanism)

        async def begin() -> tuple[Tree, Tree, Tree]:
            first, second, third = [await manager.spawn(programs.tiny) for _ in range(3)]
            return first, second, third

        killed, terminated, signalled = runner.run(begin())
        killed.kill()
        terminated.terminate()
        signalled.send_signal(signal.SIGINT)
        assert runner.run(killed.wait()) == -signal.SIGKILL
        assert runner.run(terminated.wait()) == -signal.SIGTERM
        assert runner.run(signalled.wait()) == -signal.SIGINT
        for tree in (killed, terminated, signalled):
            assert runner.run(tree.wait_empty(PATIENCE))
            tree.kill()
            tree.terminate()
        runner.run(manager.close())


@pytest.mark.parametrize("adversary", ["zoo"], indirect=True)
@pytest.mark.parametrize("leaves", ["return", "error", "cancelled"])
async def test_leaving_the_block_empties_the_tree(
    containing: Mechanism, leaves: str, adversary: Adversary, adoption: Adoption
) -> None:
    """However it is left, the escapees are gone too, and other trees are not."""

    async def hold(manager: LocalProcessManager) -> None:
        params = adversary.params()
        async with await manager.spawn(params.program, *params.args, pass_fds=params.pass_fds, env=params.env) as tree:
            await adversary.ready()
            assert len(await tree.members()) > 1
            if leaves == "error":
                raise ZeroDivisionError
            if leaves == "cancelled":
                asyncio.get_running_loop().call_soon(task.cancel)
                await asyncio.Event().wait()

    async with LocalProcessManager(containment=containing) as manager:
        other = await manager.spawn("sleep", "1000")
        task = asyncio.ensure_future(hold(manager))
        await asyncio.wait({task})
        assert task.cancelled() == (leaves == "cancelled")
        if leaves != "cancelled":
            assert isinstance(task.exception(), ZeroDivisionError) == (leaves == "error")
        assert not adversary.traces
        assert [child.pid for child in await manager.list_children()] == [other.id]
    adoption.reap_all()


async def test_a_root_whose_end_nobody_knows_is_an_error(
    containing: Mechanism, programs: Programs, adoption: Adoption
) -> None:
    """A guard that dies takes the root's status along: no number stands for that."""
    assert adopts()
    async with LocalProcessManager(containment=containing) as manager:
        tree = await manager.spawn(programs.tiny)
        root = look(tree.pid)
        assert root is not None
        os.kill(root.parent, signal.SIGKILL)
        with pytest.raises(GuardLost, match="its guard died"):
            await tree.wait()
        assert tree.returncode is None
        assert tree.exit == await manager.wait_for_root(tree.id)
        assert "guard lost" in repr(tree)


async def test_the_rest_of_the_verbs(containing: Mechanism) -> None:
    """Freezing, statistics and a shutdown with an end by force."""
    async with LocalProcessManager(containment=containing) as manager:
        tree = await manager.spawn("/bin/sh", "-c", "trap '' TERM; while :; do sleep 1; done")
        await until(lambda: (seen := look(tree.pid)) is not None and seen.name == "sh", "it runs")
        await tree.freeze()
        await tree.thaw()
        assert (await tree.stats()).processes >= 1
        report = await tree.shutdown(grace=0.2)
        assert report.forced
        assert await tree.wait_empty(0)
        assert (await tree.stats()).processes == 0
