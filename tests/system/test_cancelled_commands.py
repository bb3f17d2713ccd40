"""Commands that are cancelled at each of their awaits: nothing is left, and the cancellation arrives."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Collection, Coroutine
from pathlib import Path
from typing import Any

import pytest

from treeguard import PIPE, LocalProcessManager, arun, open_tree
from treeguard._core.streams.streams import Streams
from treeguard.params import SpawnParams
from treeguard.types import ChildHandle, Mechanism

from ..support.adoption import Adoption
from ..support.judge import children, descriptors, look, processes
from ..support.patience import PATIENCE, SLOWNESS, until
from ..support.steps import cancelled_at

#: A root that leaves an escapee in the background, and one that goes on.
#: Known by how long they sleep, which is of this process.
SLEEP = f"sleep 1004.{os.getpid()}"
SHORT = ("sh", "-c", f"cat; echo out; echo err >&2; setsid {SLEEP} & exit 3")
LONG = ("sh", "-c", f"cat; echo out; setsid {SLEEP} & setsid {SLEEP}")
Work = Callable[[LocalProcessManager], Coroutine[Any, Any, Any]]


def escapees() -> int:
    return sum(1 for seen in processes() if seen.name == "sleep" and SLEEP[6:].encode() in command_line(seen.pid))


def command_line(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:  # noqa: PTH123 - quick
            return file.read()
    except OSError:
        return b""


async def run_short(manager: LocalProcessManager) -> None:
    """To its end, with an escapee to be named and killed."""
    done = await arun(SHORT, input=b"in", capture_output=True, timeout=PATIENCE, manager=manager)
    assert (done.returncode, done.stdout, done.stderr) == (3, b"inout\n", b"err\n")


async def run_long(manager: LocalProcessManager) -> None:
    """For ever, without a deadline."""
    await arun(LONG, input=b"in", stdout=PIPE, manager=manager)


async def run_politely(manager: LocalProcessManager) -> None:
    """With a grace that is not made use of."""
    await arun(SHORT, input=b"in", capture_output=True, on_root_exit="terminate", manager=manager)


async def open_and_leave(manager: LocalProcessManager) -> None:
    """Entering and leaving."""
    async with open_tree(*LONG, stdin=PIPE, stdout=PIPE, stderr=PIPE, manager=manager) as tree:
        assert tree.stdin is not None
        tree.stdin.close()


async def open_and_communicate(manager: LocalProcessManager) -> None:
    """With an output that an escapee holds for ever."""
    async with open_tree(*SHORT, stdin=PIPE, stdout=PIPE, stderr=PIPE, manager=manager) as tree:
        await tree.communicate(b"in")


async def run_at_terminal(manager: LocalProcessManager) -> None:
    """With an escapee that holds the terminal."""
    done = await arun(SHORT, input=b"in\n", pty=True, stdout=PIPE, stderr=PIPE, timeout=PATIENCE, manager=manager)
    assert (done.returncode, done.stdout, done.stderr) == (3, b"in\r\nin\r\nout\r\n", b"err\n")


async def open_at_terminal(manager: LocalProcessManager) -> None:
    """A terminal that is read for ever."""
    async with open_tree(*LONG, pty=True, stdin=PIPE, manager=manager) as tree:
        assert tree.pty is not None
        tree.pty.write(b"in")
        await tree.pty.read()
        await tree.pty.readline()


def pipes_besides(known: Collection[int]) -> list[int]:
    return [fd for fd, what in descriptors().items() if fd not in known and what.startswith("pipe:")]


async def cancel_everywhere(containment: Mechanism, work: Work, again: bool) -> None:
    """Cancels at the first await, then at the second, and so on, until there are no more."""
    async with LocalProcessManager(containment=containment) as manager:
        # With its first pipe, libuv opens a descriptor that it keeps.
        before = descriptors().keys()
        await arun(["true"], capture_output=True, manager=manager)
        await until(lambda: not pipes_besides(before), "the pipes are closed")
        family, opened = set(children()), descriptors().keys()
        steps, cancelled = 0, True
        while cancelled:
            # Some would wait for ever at the end.
            cancelled = await cancelled_at(steps, work(manager), again=again, patience=0.5 * SLOWNESS)
            assert await manager.list_children() == []
            assert set(children()) == family
            assert escapees() == 0
            await until(lambda: descriptors().keys() == opened, "no descriptor is left")
            steps += 1
        assert steps > 3


WORKS = (
    *(run_short, run_long, run_politely, open_and_leave, open_and_communicate),
    *(run_at_terminal, open_at_terminal),
)


@pytest.mark.parametrize("again", [False, True], ids=["once", "repeatedly"])
@pytest.mark.parametrize("work", WORKS)
async def test_cancelled_at_every_await(containing: Mechanism, work: Work, again: bool, adoption: Adoption) -> None:
    """For every k: the cancellation of the k-th await arrives, and the tree is empty then, escapees included."""
    await cancel_everywhere(containing, work, again)
    adoption.reap_all()


@pytest.mark.parametrize("work", [run_short, open_and_communicate, run_at_terminal, open_at_terminal])
def test_cancelled_under_uvloop(containing: Mechanism, work: Work, uvloop: Any, adoption: Adoption) -> None:
    """The same on uvloop, whose pipes close in their own way."""
    loop = uvloop.new_event_loop()
    try:
        loop.run_until_complete(cancel_everywhere(containing, work, again=False))
    finally:
        loop.close()
    adoption.reap_all()


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="it is found by /proc")  # noqa: PTH110
@pytest.mark.parametrize(("timeout", "too_late"), [(None, False), (1000.0, False), (1000.0, True)])
async def test_cancelled_while_it_is_started(
    mechanism: Mechanism, timeout: float | None, too_late: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has left the root's group by then, and holds the output, is ended too: nobody else was given that."""
    place = tmp_path / "escapee"
    connected, spawned = Streams._connected, LocalProcessManager.spawn_child

    async def connect(self: Streams, name: str, connect: Any, protocol: Any) -> Any:
        async def in_vain(*given: Any) -> Any:
            await asyncio.Event().wait()

        return await connected(self, name, in_vain, protocol)

    async def spawn(self: LocalProcessManager, params: SpawnParams) -> ChildHandle:
        handle = await spawned(self, params)
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return handle

    if too_late:
        monkeypatch.setattr(LocalProcessManager, "spawn_child", spawn)
    else:
        monkeypatch.setattr(Streams, "_connected", connect)
    script = f"setsid sh -c 'echo $$ > {place}.new; mv {place}.new {place}; exec sleep 1000' & sleep 1000"
    running = asyncio.ensure_future(arun(script, shell=True, stdout=PIPE, timeout=timeout, containment=mechanism))
    await until(place.exists, "the escapee runs")
    escapee = int(place.read_text())
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await until(lambda: look(escapee) is None, "it is gone")
