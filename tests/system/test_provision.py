"""What a child is given besides its parameters: it arrives, and is withdrawn once, however spawn or tree end."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from treeguard import ChildHandle, LocalProcessManager, ProcessEnded, ProcessId, ProgramNotFound, SpawnParams
from treeguard.errors import InvalidArgument
from treeguard.ext import ChildResource, Owner
from treeguard.types import Mechanism

from ..support.patience import PATIENCE
from ..support.programs import Programs
from ..support.witness import hear


class Pipe(ChildResource):
    """The reading end of a pipe, with a variable that names it."""

    def __init__(self, log: list[str], **attributes: Any) -> None:
        self.log = log
        self.read, self.write = os.pipe()
        self.pass_fds = [self.read]
        self.env = {"GIVEN": str(self.read)}
        self.stdin = None
        vars(self).update(attributes)

    def started(self, child: ChildHandle) -> None:
        self.log.append("started")
        os.write(self.write, f"hello {child.os_pid}".encode())

    def withdraw(self) -> None:
        self.log.append("withdrawn")
        os.close(self.read)
        os.close(self.write)


class Pipes:
    """Gives each child one; or what it was told to."""

    def __init__(self, make: Callable[[list[str]], ChildResource | None] = Pipe) -> None:
        self.log: list[str] = []
        self._make = make

    def provide(self, owner: Owner, pid: ProcessId, params: SpawnParams) -> ChildResource | None:
        return self._make(self.log)


def refuse(log: list[str]) -> ChildResource:
    """Has nothing for anybody."""
    raise OSError("no more pipes")


def on_stdin(log: list[str]) -> ChildResource:
    """Gives a pipe as standard input."""
    pipe = Pipe(log)
    pipe.stdin = pipe.read
    return pipe


HEARS_ITS_NUMBER = "import os, sys; sys.exit(os.read(int(os.environ['GIVEN']), 99) != b'hello %d' % os.getpid())"
READ = SpawnParams(sys.executable, ("-S", "-c", HEARS_ITS_NUMBER))
STAY = SpawnParams("sleep", ("1000",))


async def test_a_child_gets_what_is_given(mechanism: Mechanism, programs: Programs) -> None:
    """Descriptors, variables and standard input arrive, beside what the parameters say."""
    pipes = Pipes(on_stdin)
    async with LocalProcessManager(containment=mechanism, providers=[pipes, Pipes(lambda log: None)]) as manager:
        account = await hear(manager, programs, env={"GIVEN": "mine", "OTHER": "kept"})
    given = int(account.env["GIVEN"])
    assert given in account.fds
    assert account.fds[0] == account.fds[given]
    assert account.env["OTHER"] == "kept"
    assert pipes.log[-1] == "withdrawn"  # Where the tree is over already, nobody tells that it has started.


async def test_what_is_given_is_withdrawn_with_the_tree(mechanism: Mechanism) -> None:
    """It is told of the start, and withdrawn when the tree is empty and not before."""
    pipes = Pipes()
    async with LocalProcessManager(containment=mechanism, providers=[pipes]) as manager:
        child = await manager.spawn_child(READ)
        root = await manager.wait_for_root(child.pid, PATIENCE)
        assert root is not None
        assert root.code == 0
        assert await manager.wait_for_exit(child.pid, PATIENCE)
        assert pipes.log == ["started", "withdrawn"]
        staying = await manager.spawn_child(STAY)
        assert pipes.log[2:] == ["started"]
        await manager.kill_tree(staying.pid)
        assert await manager.wait_for_exit(staying.pid, PATIENCE)
        assert pipes.log[2:] == ["started", "withdrawn"]


async def test_leaving_the_manager_withdraws(mechanism: Mechanism) -> None:
    """What children still have is withdrawn when their manager is left."""
    pipes = Pipes()
    async with LocalProcessManager(containment=mechanism, providers=[pipes]) as manager:
        for _ in range(3):
            await manager.spawn_child(STAY)
    assert pipes.log == ["started"] * 3 + ["withdrawn"] * 3


@pytest.mark.parametrize(
    ("params", "error"),
    [
        (SpawnParams("/nowhere/no-such-program"), ProgramNotFound),
        (SpawnParams("/proc/self/mem/no"), OSError),
        (SpawnParams("sleep", env={"": "x"}), InvalidArgument),
    ],
    ids=["missing", "under-a-file", "argument"],
)
async def test_a_failed_spawn_withdraws(mechanism: Mechanism, params: SpawnParams, error: type[Exception]) -> None:
    """Whatever step fails, what was made for the child is withdrawn before the error is raised."""
    pipes = Pipes()
    async with LocalProcessManager(containment=mechanism, providers=[pipes]) as manager:
        with pytest.raises(error):
            await manager.spawn_child(params)
        assert pipes.log == ["withdrawn"]


async def test_a_cancelled_spawn_withdraws(mechanism: Mechanism) -> None:
    """At whichever moment a spawn is cancelled, everything is withdrawn, once."""
    pipes = Pipes()
    async with LocalProcessManager(containment=mechanism, providers=[pipes]) as manager:
        for turns in range(8):
            pipes.log.clear()
            spawn = asyncio.ensure_future(manager.spawn_child(STAY))
            for _ in range(turns):
                await asyncio.sleep(0)
            spawn.cancel()
            try:
                child = await spawn
            except asyncio.CancelledError:
                assert pipes.log in ([], ["withdrawn"])  # Nothing at all: cancelled before it began.
            except ProcessEnded:
                assert pipes.log == ["withdrawn"]
            else:
                await manager.kill_tree(child.pid)
                assert await manager.wait_for_exit(child.pid, PATIENCE)


async def test_a_provider_that_fails_stops_the_spawn() -> None:
    """Its error is raised, nothing was started, and what others had made is withdrawn."""
    pipes = Pipes()
    async with LocalProcessManager(providers=[pipes, Pipes(refuse)]) as manager:
        with pytest.raises(OSError, match="no more pipes"):
            await manager.spawn_child(STAY)
        assert await manager.list_children() == []
    assert pipes.log == ["withdrawn"]


async def test_an_error_at_the_start_ends_the_tree() -> None:
    """A provision that cannot serve the child has it ended; the spawn raises why."""

    class Broken(Pipe):
        def started(self, child: ChildHandle) -> None:
            raise OSError("cannot serve")

    pipes = Pipes(Broken)
    async with LocalProcessManager(providers=[pipes]) as manager:
        with pytest.raises(OSError, match="cannot serve"):
            await manager.spawn_child(STAY)
        assert await manager.list_children() == []
    assert pipes.log == ["withdrawn"]


@pytest.mark.parametrize("stdin", ["inherit", "descriptor"])
async def test_standard_input_is_given_once(stdin: str) -> None:
    """A child that was to have another standard input is refused, and so is one that two would give theirs."""
    pipes, others = Pipes(on_stdin), Pipes(on_stdin)
    read, write = os.pipe()
    try:
        async with LocalProcessManager(providers=[pipes]) as manager:
            with pytest.raises(InvalidArgument, match="stdin"):
                await manager.spawn_child(SpawnParams("sleep", ("1",), stdin=read if stdin != "inherit" else "inherit"))
        async with LocalProcessManager(providers=[pipes, others]) as manager:
            with pytest.raises(InvalidArgument, match="stdin"):
                await manager.spawn_child(STAY)
    finally:
        os.close(read)
        os.close(write)
    assert pipes.log == ["withdrawn", "withdrawn"]
    assert others.log == ["withdrawn"]


def test_a_manager_that_was_never_left_withdraws(mechanism: Mechanism) -> None:
    """The garbage collector's end of a manager withdraws too."""
    pipes = Pipes()

    async def leave_open() -> None:
        manager = LocalProcessManager(containment=mechanism, providers=[pipes])
        await manager.spawn_child(STAY)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        asyncio.run(leave_open())
        gc.collect()
    assert pipes.log == ["started", "withdrawn"]
