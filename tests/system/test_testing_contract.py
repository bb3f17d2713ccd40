"""Scripted children behave as real ones: the same code sees the same, with processes and without."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest

import treeguard
from treeguard import (
    PIPE,
    LocalProcessManager,
    SpawnParams,
    Tree,
    TreeguardError,
    arun,
    graceful_shutdown_tree,
    open_tree,
)
from treeguard.testing import Script, ScriptedManager, Scripts
from treeguard.types import ConnectionId, Mechanism, ProcessId

from ..support.contract import BEGUN, COMMANDS, learn
from ..support.patience import PATIENCE, until

#: What some code sees.
Observe = Callable[[LocalProcessManager], Awaitable[object]]


async def on_both(observe: Observe, mechanism: Mechanism) -> list[object]:
    """What is seen with processes, and without."""
    async with LocalProcessManager(containment=mechanism) as manager:
        real = await observe(manager)
    scripts = Scripts()
    learn(scripts)
    async with ScriptedManager(scripts=scripts, containment=mechanism) as manager:
        return [real, await observe(manager)]


async def shell(manager: LocalProcessManager, code: str, **streams: Any) -> Tree:
    """A shell command as a tree, with pipes for its outputs."""
    return await manager.spawn("sh", "-c", code, **{"stdout": PIPE, "stderr": PIPE, **streams})


async def caught(work: Awaitable[object]) -> tuple[object, ...]:
    """The error that something raises, as far as it can be compared."""
    try:
        await work
    except (TreeguardError, ValueError, TypeError) as error:
        about = (getattr(error, name, None) for name in ("step", "errno", "filename"))
        return type(error), str(error), *about
    return ()


def ended(tree: Tree) -> object:
    """How a root ended, without what it used."""
    return None if tree.exit is None else (tree.exit.code, tree.exit.signal, tree.returncode)


def stands_still(tree: Tree) -> bool:
    """Whether a root is stopped."""
    inside = tree._running.inspection(tree._record)
    root = None if inside is None else inside.members.look(tree.pid)
    return root is not None and root.stopped


FINITE = [code for code in COMMANDS if "60" not in code and "while" not in code and "cat" not in code]


@pytest.mark.parametrize("code", FINITE)
async def test_exits_and_outputs(mechanism: Mechanism, code: str) -> None:
    """Whole outputs, how the root ended, and that nothing is left."""

    async def observe(manager: LocalProcessManager) -> object:
        tree = await shell(manager, code)
        outputs = await tree.communicate()
        return outputs, ended(tree), await tree.wait_empty(PATIENCE), await tree.members()

    real, made_up = await on_both(observe, mechanism)
    assert real == made_up


@pytest.mark.parametrize("data", [b"", b"one\ntwo", b"x" * 300_000 + b"\n"], ids=["nothing", "two lines", "long"])
async def test_input(mechanism: Mechanism, data: bytes) -> None:
    """What is written to a child, and its end."""

    async def observe(manager: LocalProcessManager) -> object:
        tree = await shell(manager, "cat", stdin=PIPE)
        return await tree.communicate(data), ended(tree)

    real, made_up = await on_both(observe, mechanism)
    assert real == made_up == ((data, b""), (0, None, 0))


async def test_a_dialogue(mechanism: Mechanism) -> None:
    """Line by line, in both directions."""

    async def observe(manager: LocalProcessManager) -> object:
        async with await shell(manager, "cat", stdin=PIPE) as tree:
            assert tree.stdin is not None
            assert tree.stdout is not None
            said = []
            for line in (b"first\n", b"second\n"):
                tree.stdin.write(line)
                said.append(await tree.stdout.readline())
            tree.stdin.close()
            return said, await tree.stdout.read(), await tree.wait()

    real, made_up = await on_both(observe, mechanism)
    assert real == made_up == ([b"first\n", b"second\n"], b"", 0)


async def test_lines(mechanism: Mechanism) -> None:
    """Of one stream in order, with their names."""

    async def observe(manager: LocalProcessManager) -> object:
        tree = await shell(manager, "echo a; echo b; echo c")
        return [line async for line in tree.lines(text=True)], await tree.wait()

    real, made_up = await on_both(observe, mechanism)
    assert real == made_up == ([("stdout", "a\n"), ("stdout", "b\n"), ("stdout", "c\n")], 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL, signal.SIGUSR1, signal.SIGHUP])
@pytest.mark.parametrize("to", ["group", "root", "all"])
async def test_signals(mechanism: Mechanism, number: int, to: Any) -> None:
    """Their default effect on a root."""

    async def observe(manager: LocalProcessManager) -> object:
        async with await shell(manager, "exec sleep 60") as tree:
            tree.send_signal(number, to=to)
            return await tree.wait(), ended(tree), await tree.wait_empty(PATIENCE)

    real, made_up = await on_both(observe, mechanism)
    assert real == made_up == (-number, (None, number, -number), True)


async def test_signals_that_do_nothing(mechanism: Mechanism) -> None:
    """Ignored ones, and those whose default it is; and what is no signal."""

    async def observe(manager: LocalProcessManager) -> object:
        async with await shell(manager, "trap '' INT; echo ready; exec sleep 60") as tree:
            assert tree.stdout is not None
            ready = await tree.stdout.readline()
            tree.send_signal(signal.SIGINT)
            tree.send_signal(signal.SIGCHLD)
            tree.send_signal(signal.SIGWINCH)
            with pytest.raises(ValueError, match="signal") as wrong:
                tree.send_signal(0)
            alive = await tree.wait_empty(0.05)
            tree.terminate()
            return ready, str(wrong.value), alive, await tree.wait()

    real, made_up = await on_both(observe, mechanism)
    assert real == made_up


async def test_signals_that_are_ignored_from_the_start(mechanism: Mechanism) -> None:
    """A program that handles none ends by the others."""

    async def observe(manager: LocalProcessManager) -> object:
        streams: dict[str, Any] = {"ignore_signals": [signal.SIGTERM, signal.SIGUSR1]}
        async with await shell(manager, "exec sleep 60", **streams) as tree:
            tree.terminate()
            tree.send_signal(signal.SIGUSR1)
            still = await tree.wait_empty(0.05)
            tree.send_signal(signal.SIGUSR2)
            return still, await tree.wait()

    real, made_up = await on_both(observe, mechanism)
    assert real == made_up == (False, -signal.SIGUSR2)


async def test_a_handler_of_sigterm(mechanism: Mechanism) -> None:
    """The code is the handler's."""

    async def observe(manager: LocalProcessManager) -> object:
        async with await shell(manager, "trap 'exit 3' TERM; echo ready; while :; do :; done") as tree:
            assert tree.stdout is not None
            await tree.stdout.readline()
            await manager.terminate_tree(tree.id)
            return await tree.wait(), ended(tree)

    real, made_up = await on_both(observe, mechanism)
    assert real == made_up == (3, (3, None, 3))


async def test_stops(mechanism: Mechanism) -> None:
    """A stopped root hears SIGTERM when it goes on."""

    async def observe(manager: LocalProcessManager) -> object:
        async with await shell(manager, "exec sleep 60") as tree:
            tree.send_signal(signal.SIGSTOP)
            # A process that hears both at once ends.
            await until(lambda: stands_still(tree), "it has stopped")
            if mechanism != "process_group":  # which does not see stops
                await until(lambda: tree._record.state.stopped == signal.SIGSTOP, "that is told")
            tree.send_signal(signal.SIGTERM)
            still = await tree.wait_empty(0.05)
            tree.send_signal(signal.SIGCONT)
            return still, await tree.wait()

    real, made_up = await on_both(observe, mechanism)
    assert real == made_up == (False, -signal.SIGTERM)


async def test_a_stopped_tree_is_asked(mechanism: Mechanism) -> None:
    """It goes on to hear that it is to end."""

    async def observe(manager: LocalProcessManager) -> object:
        async with await shell(manager, "exec sleep 60") as tree:
            tree.send_signal(signal.SIGSTOP)
            await until(lambda: stands_still(tree), "it has stopped")
            tree.terminate()
            return await tree.wait()

    real, made_up = await on_both(observe, mechanism)
    assert real == made_up == -signal.SIGTERM


async def test_frozen_trees(mechanism: Mechanism) -> None:
    """They hear nothing until they are thawed, but in a cgroup they die of what they do not handle."""

    async def observe(manager: LocalProcessManager) -> object:
        async with await shell(manager, "exec sleep 60") as tree:
            await tree.freeze()
            tree.terminate()
            still = await tree.wait_empty(0.05)
            await tree.thaw()
            return still, await tree.wait()

    real, made_up = await on_both(observe, mechanism)
    assert real == made_up == (mechanism == "cgroup", -signal.SIGTERM)


async def test_what_outlives_the_root(mechanism: Mechanism) -> None:
    """It is a member, keeps the tree from being empty, and ends with it."""

    async def observe(manager: LocalProcessManager) -> object:
        async with await shell(manager, f"sleep 60 & {BEGUN}; exit 5") as tree:
            code = await tree.wait()
            members = await tree.members()
            stats = await tree.stats()
            waited = await tree.wait_empty(0.05)
            listed = [child.pid == tree.id for child in await manager.list_children()]
            tree.kill()
            return (
                (code, len(members), tree.pid in members, stats.processes, waited, listed),
                (await tree.wait_empty(PATIENCE), await tree.members(), await manager.list_children()),
            )

    real, made_up = await on_both(observe, mechanism)
    assert real == made_up == ((5, 1, False, 1, False, [True]), (True, (), []))


@pytest.mark.parametrize(
    "code",
    [
        f"sleep 60 & {BEGUN}; exit 5",
        f"sleep 60 >/dev/null 2>&1 & {BEGUN}; echo said",
        f"setsid sleep 60 & {BEGUN}; echo left",
        "exit 7",
        "echo out; echo err >&2",
    ],
)
@pytest.mark.parametrize("on_root_exit", ["kill", "terminate"])
async def test_arun(mechanism: Mechanism, code: str, on_root_exit: Any) -> None:
    """The result names the processes that were left. A process group lets escapees go, so they cannot be seen there."""
    if mechanism == "process_group" and "setsid" in code:
        pytest.skip("an escapee lives on")

    async def observe(manager: LocalProcessManager) -> object:
        done = await arun(["sh", "-c", code], capture_output=True, manager=manager, on_root_exit=on_root_exit)
        left = [(each.name, each.held_output) for each in done.left]
        return done.returncode, done.stdout, done.stderr, left, done.exit.code, done.dropped

    real, made_up = await on_both(observe, mechanism)
    assert real == made_up


async def test_arun_that_takes_too_long(mechanism: Mechanism) -> None:
    """The error has what was written by then."""

    async def observe(manager: LocalProcessManager) -> object:
        code = "trap '' TERM; echo deaf; while :; do sleep 60; done"
        with pytest.raises(treeguard.TimeoutExpired) as late:
            await arun(["sh", "-c", code], capture_output=True, text=True, timeout=0.5, manager=manager)
        error = late.value
        return str(error), error.output, error.exit, error.left, await manager.list_children()

    real, made_up = await on_both(observe, mechanism)
    assert real == made_up


@pytest.mark.parametrize(
    "params",
    [
        SpawnParams("treeguard-no-such-program"),
        SpawnParams("/nowhere/at-all"),
        SpawnParams("/etc/passwd"),
        SpawnParams("sh", ("-c", "exit 0"), cwd="/nowhere"),
        SpawnParams("sh", ("-c", "exit 0"), stdout=1 << 20),
        SpawnParams("sh", ("-c", "exit\0 0")),
        SpawnParams("sh", ("-c", "exit 0"), env={"A=B": "C"}),
        SpawnParams(""),
        SpawnParams(),
        SpawnParams("sh", ("-c", "exit 0"), kind=""),
    ],
    ids=lambda params: repr((params.program, params.cwd, params.kind)),
)
async def test_what_cannot_be_started(mechanism: Mechanism, params: SpawnParams) -> None:
    """The same errors, of the same words."""

    async def observe(manager: LocalProcessManager) -> object:
        return await caught(manager.spawn_child(params)), await manager.list_children()

    real, made_up = await on_both(observe, mechanism)
    assert real == made_up
    assert real != ((), [])


async def test_this_interpreter(mechanism: Mechanism) -> None:
    """A kind of one's own and no program."""

    async def observe(manager: LocalProcessManager) -> object:
        tree = await manager.spawn(None, "-c", "print('python')", kind="io", stdout=PIPE)
        return await tree.communicate(), tree.kind, tree.returncode

    real, made_up = await on_both(observe, mechanism)
    assert real == made_up == ((b"python\n", None), "io", 0)


async def test_unknown_ids_and_connections(mechanism: Mechanism) -> None:
    """Ids that were never issued, trees that have ended, and connections."""
    nobody = ProcessId(UUID(int=7))
    conn = ConnectionId(UUID(int=8))

    async def observe(manager: LocalProcessManager) -> object:
        tree = await shell(manager, "exec sleep 60")
        await manager.attach_connection(tree.id, conn)
        listed = [(child.kind, child.connection, child.os_pid == tree.pid) for child in await manager.list_children()]
        tree.kill()
        await tree.wait_empty(PATIENCE)
        return (
            listed,
            (await caught(manager.wait_for_exit(nobody, 0)))[:2],
            (await caught(manager.attach_connection(tree.id, conn)))[0],
            await manager.wait_for_exit(tree.id, 0),
            await caught(manager.terminate_tree(tree.id)),
        )

    real, made_up = await on_both(observe, mechanism)
    assert real == made_up


async def test_families(mechanism: Mechanism) -> None:
    """A child's child ends before its parent, and with it."""

    async def observe(manager: LocalProcessManager) -> object:
        parent = await manager.spawn_child(SpawnParams("sh", ("-c", "exec sleep 60")))
        child = await manager.spawn_child(SpawnParams("sh", ("-c", "exec sleep 60"), parent=parent.pid))
        await manager.kill_tree(parent.pid)
        empty = [await manager.wait_for_exit(each.pid, PATIENCE) for each in (parent, child)]
        return child.parent == parent.pid, empty, await manager.list_children()

    real, made_up = await on_both(observe, mechanism)
    assert real == made_up == (True, [True, True], [])


async def test_shutdowns(mechanism: Mechanism) -> None:
    """Of a child that obeys, and of one that does not."""

    async def refuse() -> treeguard.ShutdownTreeResponse:
        return treeguard.ShutdownTreeResponse(False)

    async def observe(manager: LocalProcessManager) -> object:
        gentle = await (await shell(manager, "exec sleep 60")).shutdown(PATIENCE)
        deaf = await shell(manager, "trap '' TERM; echo deaf; while :; do sleep 60; done")
        assert deaf.stdout is not None
        await deaf.stdout.readline()
        forced = await deaf.shutdown(0.1)
        asked = await shell(manager, "exec sleep 60")
        outcome = await graceful_shutdown_tree(manager, asked.id, refuse, ack_timeout=PATIENCE, exit_timeout=PATIENCE)
        steps = [[(step.step, step.outcome) for step in report.steps] for report in (gentle, forced)]
        return steps, gentle.forced, forced.forced, forced.exited, outcome

    real, made_up = await on_both(observe, mechanism)
    assert real == made_up


async def test_a_lost_guard() -> None:
    """Nobody knows how the root ended, and without a cgroup nobody knows whether all is gone."""

    async def observe(manager: LocalProcessManager, lose: Callable[[Tree], None]) -> object:
        tree = await shell(manager, "exec sleep 60")
        lose(tree)
        waited = await caught(tree.wait())
        emptied = await caught(tree.wait_empty(PATIENCE))
        return [(each[0], str(each[1]).replace(str(tree.id), "ID")) for each in (waited, emptied)], tree.exit

    def kill_guard(tree: Tree) -> None:
        os.kill(tree._running.engine.leader_pid(tree._record.tag), signal.SIGKILL)

    async with LocalProcessManager(containment="subreaper") as manager:
        real = await observe(manager, kill_guard)
    async with ScriptedManager(containment="subreaper") as made_up:
        made_up.script("sh", exit=None, loses_guard_after=0.01)
        assert await observe(made_up, lambda tree: None) == real


async def test_leaving_ends_everything(mechanism: Mechanism) -> None:
    """A tree's block, a manager's, and a cancelled spawn."""

    async def observe(manager: LocalProcessManager) -> object:
        async with open_tree("sh", "-c", "exec sleep 60", manager=manager) as tree:
            pass
        other = await shell(manager, "exec sleep 60")
        spawning = asyncio.ensure_future(manager.spawn("sh", "-c", "exec sleep 60"))
        await asyncio.sleep(0)
        spawning.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await spawning
        children = len(await manager.list_children())
        await manager.close()
        return children <= 2, tree.returncode, other.returncode, await caught(manager.spawn("sh", "-c", "exit 0"))

    real, made_up = await on_both(observe, mechanism)
    assert real == made_up


async def test_a_full_pipe_holds_the_writer_up(mechanism: Mechanism) -> None:
    """A reader that does not read keeps the child from ending. A reader that closes the pipe ends it."""

    async def observe(manager: LocalProcessManager) -> object:
        async with await shell(manager, "yes | head -c 1000000") as tree:
            held = await tree.wait_empty(0.1)
            assert tree.stdout is not None
            head = await tree.stdout.readexactly(4)
            rest = await tree.stdout.read()
            return held, head, len(rest), await tree.wait_empty(PATIENCE)

    real, made_up = await on_both(observe, mechanism)
    assert real == made_up == (False, b"y\ny\n", 999_996, True)


async def test_control_a_wrong_script_is_noticed(mechanism: Mechanism) -> None:
    """Control: a child that does something else is seen to."""

    async def observe(manager: LocalProcessManager) -> object:
        tree = await shell(manager, "exit 7")
        return await tree.communicate(), ended(tree)

    async with LocalProcessManager(containment=mechanism) as manager:
        real = await observe(manager)
    for script in (Script(exit=6), Script(exit=7, stdout="x"), Script(exit=-7)):
        async with ScriptedManager(containment=mechanism) as manager:
            manager.script("sh", script)
            assert await observe(manager) != real
