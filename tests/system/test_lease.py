"""A lease: a supervisor that is alive but does not work loses its trees."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from treeguard import ContainmentUnavailable, LocalProcessManager, SpawnParams
from treeguard.types import Mechanism

from ..support.adoption import Adoption
from ..support.judge import look
from ..support.patience import PATIENCE, SLOWNESS, wait_until

_SUPERVISOR = """
import asyncio, sys, time
from treeguard import LocalProcessManager, SpawnParams

async def main(containment, lease):
    async with LocalProcessManager(containment=containment, lease=float(lease) or None) as manager:
        child = await manager.spawn_child(SpawnParams("sh", ("-c", "setsid sleep 1000 & exec sleep 1000")))
        print(child.os_pid, flush=True)
        # Not by a thread: libc cannot start one where a filter says EPERM to clone3.
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            hanging, patience = map(float, line.split())
            time.sleep(hanging)  # hangs the loop
            print(int(await manager.wait_for_exit(child.pid, patience)), flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


@contextmanager
def supervisor(containment: Mechanism, lease: float) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A supervisor that hangs for as long as it is told, and the root of its tree."""
    process = subprocess.Popen(
        [sys.executable, "-c", _SUPERVISOR, containment, str(lease)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process, int(process.stdout.readline())
    finally:
        process.send_signal(signal.SIGCONT)
        process.stdin.close()
        process.wait()
        process.stdout.close()


def ask(process: subprocess.Popen[str], *, hanging: float, patience: float) -> bool:
    """Tells the supervisor how long to hang; whether its tree is empty afterwards, or within so many seconds."""
    assert process.stdin is not None
    assert process.stdout is not None
    print(hanging, patience, file=process.stdin, flush=True)
    return process.stdout.readline().strip() == "1"


def ended(root: int) -> bool:
    """Whether a root is gone, reaped included."""
    return look(root) is None


def test_stopped_supervisor_loses_its_tree(containing: Mechanism, adoption: Adoption) -> None:
    """A supervisor that is stopped loses its trees when the lease is over, and learns of it when it goes on."""
    with supervisor(containing, 0.5 * SLOWNESS) as (process, root):
        os.kill(process.pid, signal.SIGSTOP)
        begin = time.monotonic()
        wait_until(lambda: ended(root), "the tree has ended")
        assert time.monotonic() - begin > 0.2 * SLOWNESS, "not before"
        os.kill(process.pid, signal.SIGCONT)
        assert ask(process, hanging=0, patience=PATIENCE)


def test_stopped_supervisor_without_lease_keeps_its_tree(containing: Mechanism, adoption: Adoption) -> None:
    """Control: without a lease a stopped supervisor keeps its trees."""
    with supervisor(containing, 0) as (process, root):
        os.kill(process.pid, signal.SIGSTOP)
        with pytest.raises(AssertionError):
            wait_until(lambda: ended(root), "the tree has ended", 1.0)


def test_hanging_loop_loses_its_tree(containing: Mechanism, adoption: Adoption) -> None:
    """A callback that hangs for longer than the lease costs the trees."""
    with supervisor(containing, 0.5 * SLOWNESS) as (process, _):
        assert ask(process, hanging=2 * SLOWNESS, patience=PATIENCE)


def test_busy_loop_keeps_its_tree(containing: Mechanism, adoption: Adoption) -> None:
    """A loop that is busy for less than the lease keeps its trees, again and again."""
    with supervisor(containing, 10) as (process, root):
        for _ in range(3):
            assert not ask(process, hanging=0.3, patience=1)
        assert not ended(root)


async def test_lease_needs_a_guard() -> None:
    """Without a guard nobody can look at a lease, and that is said before anything is started."""
    with pytest.raises(ContainmentUnavailable, match="lease"):
        async with LocalProcessManager(containment="process_group", lease=1):
            pass


@pytest.mark.parametrize("lease", [0, -1, float("nan")])
def test_bad_lease_is_refused(lease: float) -> None:
    """A lease that no supervisor could keep is refused."""
    with pytest.raises(ValueError, match="lease"):
        LocalProcessManager(lease=lease)


async def test_lease_in_use_outlasts_it(containing: Mechanism) -> None:
    """A tree lives longer than the lease as long as the loop runs."""
    async with LocalProcessManager(containment=containing, lease=0.2 * SLOWNESS) as manager:
        child = await manager.spawn_child(SpawnParams("sleep", ("1000",)))
        assert not await manager.wait_for_exit(child.pid, SLOWNESS)


def test_manager_that_is_left_open_closes_its_page_once(containing: Mechanism) -> None:
    """One that is collected without having been left warns, and closes no descriptor that is another's by then."""
    held = [asyncio.run(left_open(containing))]
    with pytest.warns(ResourceWarning, match="unclosed"):
        forget(held)


async def left_open(containment: Mechanism) -> LocalProcessManager:
    """A manager that was entered."""
    return await LocalProcessManager(containment=containment, lease=10).__aenter__()


def forget(held: list[LocalProcessManager]) -> None:
    """Lets go of what nobody else holds."""
    held.clear()
    gc.collect()
