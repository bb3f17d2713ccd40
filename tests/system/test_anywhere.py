"""What holds on every POSIX system, without a look at /proc and without fixtures of others.

The judge is a pipe that each process of a tree has an end of: it is at its end when nobody is left.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from treeguard import LocalProcessManager, ProgramNotFound, SpawnParams

#: Seconds. What is to happen takes milliseconds; a shared machine may take its time.
PATIENCE = 30.0
A_WHILE = 0.3
#: Two in the root's group, and two in a session of their own whose parent lives. They end by themselves after a minute.
FAMILY = """
import os, signal
def stay():
    signal.alarm(60)
    while True:
        signal.pause()
if os.fork() == 0:
    stay()
if os.fork() == 0:
    os.setsid()
    os.fork()
    os.write(1, b"x")
    stay()
os.write(1, b"x")
stay()
"""
SUPERVISOR = """
import asyncio, sys
from treeguard import LocalProcessManager, SpawnParams
async def main():
    async with LocalProcessManager() as manager:
        params = SpawnParams(sys.executable, ("-c", sys.argv[1]), stdin="null", stdout=int(sys.argv[2]))
        child = await manager.spawn_child(params)
        await manager.wait_for_exit(child.pid)
asyncio.run(main())
"""


class Judge:
    """A pipe. Its writing end is for the tree alone."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()

    def let_go(self) -> None:
        """Closes our copy of the tree's end."""
        os.close(self.writer)
        self.writer = -1

    def wait_for(self, members: int) -> None:
        """Waits until so many have said that they are there."""
        for _ in range(members):
            assert select.select([self.reader], [], [], PATIENCE)[0]
            assert os.read(self.reader, 1) == b"x"

    def is_gone(self, patience: float) -> bool:
        """Whether no process is left by then."""
        return bool(select.select([self.reader], [], [], patience)[0]) and os.read(self.reader, 1) == b""

    def close(self) -> None:
        """Closes what is open."""
        os.close(self.reader)
        if self.writer >= 0:
            os.close(self.writer)


@pytest.fixture
def judge() -> Iterator[Judge]:
    judge = Judge()
    yield judge
    judge.close()


def family(judge: Judge) -> SpawnParams:
    return SpawnParams(sys.executable, ("-c", FAMILY), stdout=judge.writer)


async def test_what_is_claimed_is_one_of_the_mechanisms() -> None:
    """The manager says what keeps trees together here, and a weaker one claims less."""
    async with LocalProcessManager() as manager:
        containment = manager.containment
    strong = containment.mechanism != "process_group"
    assert strong == containment.contains_escapees == containment.proves_empty
    assert not strong or not containment.advisory


async def test_killed_tree_is_gone_when_it_is_reported_empty(judge: Judge) -> None:
    """Killing ends the root's group and the session below it, and then the tree is empty."""
    async with LocalProcessManager() as manager:
        child = await manager.spawn_child(family(judge))
        judge.let_go()
        judge.wait_for(3)
        assert not judge.is_gone(0)
        await manager.kill_tree(child.pid)
        assert await manager.wait_for_exit(child.pid, PATIENCE)
        assert judge.is_gone(0 if manager.containment.proves_empty else PATIENCE)
        root = await manager.wait_for_root(child.pid)
        assert root is not None
        assert root.signal == signal.SIGKILL


async def test_leaving_the_manager_ends_its_trees(judge: Judge) -> None:
    """No tree is left when the manager has been left."""
    async with LocalProcessManager() as manager:
        await manager.spawn_child(family(judge))
        judge.let_go()
        judge.wait_for(3)
    assert judge.is_gone(PATIENCE)


async def test_exit_codes_and_errors_are_told() -> None:
    """A root's exit code is told, and a program that is not there is the error that subprocess would raise."""
    async with LocalProcessManager() as manager:
        children = [await manager.spawn_child(SpawnParams("sh", ("-c", f"exit {n}"))) for n in range(5)]
        for n, child in enumerate(children):
            root = await manager.wait_for_root(child.pid, PATIENCE)
            assert root is not None
            assert root.code == n
            assert await manager.wait_for_exit(child.pid, PATIENCE)
        with pytest.raises(ProgramNotFound):
            await manager.spawn_child(SpawnParams("/nonexistent/program"))


def supervised(judge: Judge) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", SUPERVISOR, FAMILY, str(judge.writer)]
    return subprocess.Popen(command, pass_fds=(judge.writer,), stdin=subprocess.DEVNULL)


def test_tree_ends_with_its_supervisor(judge: Judge) -> None:
    """After SIGKILL of the supervisor nothing of its tree is left."""
    with supervised(judge) as supervisor:
        judge.let_go()
        judge.wait_for(3)
        supervisor.kill()
        supervisor.wait()
    assert judge.is_gone(PATIENCE)


def test_control_tree_of_a_living_supervisor_stays(judge: Judge) -> None:
    """The judge sees a tree that lives: as long as the supervisor does, so does its tree."""
    with supervised(judge) as supervisor:
        judge.let_go()
        judge.wait_for(3)
        assert not judge.is_gone(A_WHILE)
        supervisor.kill()
        supervisor.wait()
    assert judge.is_gone(PATIENCE)


async def test_cancelled_spawns_leave_nothing(judge: Judge) -> None:
    """A spawn that is cancelled leaves no process behind."""
    async with LocalProcessManager() as manager:
        for _ in range(20):
            task = asyncio.ensure_future(manager.spawn_child(family(judge)))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    judge.let_go()
    while select.select([judge.reader], [], [], PATIENCE)[0]:
        if not os.read(judge.reader, 1):
            return
    pytest.fail("something of a cancelled spawn is left")
