"""Shutdowns of real trees, step by step: which tree ends at which step, which one by force, and in which order."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from treeguard import ChildHandle, LocalProcessManager, ShutdownTreeResponse, SpawnParams
from treeguard.shutdown import AskShutdown, CloseStdin, Kill, ShutdownReport, Terminate
from treeguard.types import Mechanism

from ..support.judge import look
from ..support.patience import PATIENCE, until

#: Long enough for what must not pass, short enough for what will.
SHORT = 0.3
#: Half of it is enough for a shell to leave, also on a busy host.
DEADLINE = PATIENCE / 5

#: Says that it runs, then how often it was asked to leave, and leaves at the first time.
POLITE = "trap 'echo left $NAME; exit 0' TERM; echo up $NAME; while :; do sleep 0.02; done"
#: The same, but stays.
STUBBORN = "trap 'echo asked $NAME' TERM; echo up $NAME; while :; do sleep 0.02; done"


class Diary:
    """A pipe that children write lines to, one at a time."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._text = ""

    @property
    def lines(self) -> list[str]:
        """What was written so far."""
        try:
            while chunk := os.read(self._fd, 4096):
                self._text += chunk.decode()
        except BlockingIOError:
            pass
        return self._text.splitlines()

    async def until(self, line: str) -> None:
        """Waits until it was written."""
        await until(lambda: line in self.lines, f"{line!r} among {self.lines}")


@contextmanager
def diary() -> Iterator[tuple[Diary, int]]:
    """One, and the descriptor that children write to."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    try:
        yield Diary(read), write
    finally:
        os.close(read)
        os.close(write)


async def spawn(
    manager: LocalProcessManager, script: str, name: str, out: int, parent: ChildHandle | None = None
) -> ChildHandle:
    """A shell that runs a script."""
    return await manager.spawn_child(
        SpawnParams("sh", ("-c", script), env={"NAME": name}, stdout=out, parent=None if parent is None else parent.pid)
    )


def story(report: ShutdownReport) -> list[tuple[str, str]]:
    """What was tried and what came of it."""
    return [(step.step, step.outcome) for step in report.steps]


async def test_each_step_in_its_time(mechanism: Mechanism, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that answers nothing, outlives its input and ignores SIGTERM is killed. The report has each step."""
    monkeypatch.setattr("treeguard.shutdown.driver.LOOK_PATIENCE", PATIENCE)
    with diary() as (lines, out):
        async with LocalProcessManager(containment=mechanism) as manager:
            child = await spawn(manager, STUBBORN, "it", out)
            await lines.until("up it")

            async def refuse() -> ShutdownTreeResponse:
                return ShutdownTreeResponse(acknowledged=False)

            def fail() -> None:
                raise BrokenPipeError("it reads nothing")

            ladder = (AskShutdown(refuse, 1, 1), CloseStdin(fail, 1), Terminate(SHORT), Kill(PATIENCE))
            report = await manager.shutdown(child.pid, ladder)
            assert look(child.os_pid) is None
        assert story(report) == [
            ("ask", "refused"),
            ("close_stdin", "failed"),
            ("terminate", "stayed"),
            ("kill", "empty"),
        ]
        assert (report.pid, report.acknowledged, report.exited, report.forced) == (child.pid, False, True, True)
        assert report.steps[2].left is not None
        assert child.os_pid in report.steps[2].left
        assert report.left == ()
        assert SHORT <= report.steps[3].began <= report.seconds


async def test_closing_standard_input(mechanism: Mechanism) -> None:
    """A program that reads to the end leaves by itself, and nothing more is tried."""
    read, write = os.pipe()
    async with LocalProcessManager(containment=mechanism) as manager:
        child = await manager.spawn_child(SpawnParams("cat", stdin=read, stdout="null"))
        os.close(read)
        report = await manager.shutdown(
            child.pid, (CloseStdin(lambda: os.close(write), PATIENCE), Terminate(PATIENCE), Kill(PATIENCE))
        )
        root = await manager.wait_for_root(child.pid)
    assert story(report) == [("close_stdin", "empty")]
    assert (report.exited, report.forced) == (True, False)
    assert root is not None
    assert root.code == 0


async def test_an_empty_tree_is_left_alone(mechanism: Mechanism) -> None:
    """Nothing is tried on what has ended."""
    async with LocalProcessManager(containment=mechanism) as manager:
        child = await manager.spawn_child(SpawnParams("true"))
        assert await manager.wait_for_exit(child.pid, PATIENCE)
        report = await manager.shutdown(child.pid)
    assert (report.steps, report.exited, report.forced) == ((), True, False)


#: A root that leaves politely, and a descendant in a session of its own, which is asked by nobody else.
ESCAPING = f"NAME=escapee setsid sh -c '{POLITE.replace(chr(39), chr(34))}' & {POLITE}"


@pytest.mark.parametrize("whole_tree", [True, False])
async def test_asking_the_whole_tree(containing: Mechanism, whole_tree: bool) -> None:
    """With ``whole_tree`` those outside of the root's group leave politely too; without it they have to be killed."""
    with diary() as (lines, out):
        async with LocalProcessManager(containment=containing) as manager:
            child = await spawn(manager, ESCAPING, "root", out)
            await lines.until("up root")
            await lines.until("up escapee")
            patience = PATIENCE if whole_tree else SHORT
            report = await manager.shutdown(child.pid, (Terminate(patience, whole_tree), Kill(PATIENCE)))
        assert report.exited
        assert report.forced is not whole_tree
        assert ("left escapee" in lines.lines) == whole_tree
        assert not whole_tree or "left root" in lines.lines


async def test_nobody_is_signalled_twice(containing: Mechanism) -> None:
    """A process in the root's group gets no second SIGTERM as a member: some programs take that as urgent."""
    with diary() as (lines, out):
        async with LocalProcessManager(containment=containing) as manager:
            child = await spawn(
                manager, f"NAME=second setsid sh -c '{STUBBORN.replace(chr(39), chr(34))}' & {STUBBORN}", "first", out
            )
            await lines.until("up first")
            await lines.until("up second")
            ladder = (Terminate(60, whole_tree=True), Kill(PATIENCE))
            shutdown = asyncio.ensure_future(manager.shutdown(child.pid, ladder))
            await lines.until("asked first")
            await lines.until("asked second")
            await asyncio.wait({shutdown}, timeout=SHORT)  # for one more to arrive
            shutdown.cancel()
            with pytest.raises(asyncio.CancelledError):
                await shutdown
        assert sorted(line for line in lines.lines if "asked" in line) == ["asked first", "asked second"]


async def test_children_leave_before_their_parents(mechanism: Mechanism) -> None:
    """A family of three generations beside a stranger: each is asked when those below it have left."""
    with diary() as (lines, out):
        async with LocalProcessManager(containment=mechanism) as manager:
            top = await spawn(manager, POLITE, "top", out)
            middle = await spawn(manager, POLITE, "middle", out, parent=top)
            bottom = await spawn(manager, POLITE, "bottom", out, parent=middle)
            stranger = await spawn(manager, POLITE, "stranger", out)
            for name in ("top", "middle", "bottom", "stranger"):
                await lines.until(f"up {name}")
            # SIGTERM to a parent reaches its children too: that they had left before is what is seen.
            reports = await manager.shutdown_all((Terminate(PATIENCE), Kill(PATIENCE)))
            assert await manager.list_children() == []
        assert [story(report) for report in reports] == [[("terminate", "empty")]] * 4
        order = [report.pid for report in reports]
        assert sorted(order, key=order.index) == order
        assert order.index(bottom.pid) < order.index(middle.pid) < order.index(top.pid)
        assert stranger.pid in order
        left = [line.removeprefix("left ") for line in lines.lines if "left" in line]
        assert sorted(left) == ["bottom", "middle", "stranger", "top"]
        assert left.index("bottom") < left.index("middle") < left.index("top")


async def test_one_deadline_for_all(mechanism: Mechanism) -> None:
    """Stubborn ones are forced when it is over; a parent is asked although its child was stubborn."""
    with diary() as (lines, out):
        async with LocalProcessManager(containment=mechanism) as manager:
            parent = await spawn(manager, POLITE, "parent", out)
            child = await spawn(manager, STUBBORN, "child", out, parent=parent)
            deaf = [await spawn(manager, STUBBORN, f"deaf{i}", out) for i in range(5)]
            for name in ("parent", "child", *(f"deaf{i}" for i in range(5))):
                await lines.until(f"up {name}")
            loop = asyncio.get_running_loop()
            began = loop.time()
            reports = await manager.shutdown_all((Terminate(60), Kill(PATIENCE)), deadline=DEADLINE)
            took = loop.time() - began
            assert await manager.list_children() == []
        by_pid = {report.pid: report for report in reports}
        assert [by_pid[each.pid].forced for each in (parent, child, *deaf)] == [False, True] + [True] * 5
        assert "left parent" in lines.lines
        assert DEADLINE <= took < DEADLINE + PATIENCE


@pytest.mark.parametrize("iter_pids", [False, True])
async def test_cancelling_ends_all(mechanism: Mechanism, iter_pids: bool) -> None:
    """A shutdown that is given up has killed what it was to shut down."""
    with diary() as (lines, out):
        async with LocalProcessManager(containment=mechanism) as manager:
            parent = await spawn(manager, STUBBORN, "parent", out)
            child = await spawn(manager, STUBBORN, "child", out, parent=parent)
            await lines.until("up parent")
            await lines.until("up child")
            ladder = (Terminate(60), Kill(PATIENCE))
            work = manager.shutdown_all(ladder) if iter_pids else manager.shutdown(parent.pid, ladder)
            task = asyncio.ensure_future(work)
            await lines.until("asked child")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await manager.wait_for_exit(parent.pid, PATIENCE)
            assert look(parent.os_pid) is None
            assert look(child.os_pid) is None
