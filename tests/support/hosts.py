"""Host applications with habits: to be run apart (:mod:`tests.support.apart`)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
from types import FrameType

from treeguard import LocalProcessManager, SpawnParams
from treeguard.types import Mechanism

from .judge import children, look
from .patience import PATIENCE, until

__all__ = [
    "closes_input_later",
    "closes_standard_streams",
    "ignores_sigchld",
    "reaps_in_a_handler",
    "reaps_in_a_thread",
]


async def _live(containment: Mechanism, program: str, rounds: int = 20) -> None:
    """Trees are ended in several ways. Each is reported empty, and is."""
    async with LocalProcessManager(containment=containment) as manager:
        for i in range(rounds):
            child = await manager.spawn_child(SpawnParams(program=program))
            if i % 3 == 0:
                await manager.kill_tree(child.pid)
            elif i % 3 == 1:
                await manager.terminate_tree(child.pid, False)
            else:
                os.kill(child.os_pid, signal.SIGKILL)
            assert await manager.wait_for_exit(child.pid, PATIENCE)
            seen = look(child.os_pid)
            assert seen is None or seen.state == "Z"
            root = await manager.wait_for_root(child.pid)
            assert root is None or root.code is None
        assert await manager.list_children() == []
        await manager.spawn_child(SpawnParams(program=program))
    deadline = time.monotonic() + PATIENCE
    while children():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.001)


def _run(containment: Mechanism, program: str, loop: str) -> None:
    if loop == "asyncio":
        asyncio.run(_live(containment, program))
        return
    import uvloop

    other = uvloop.new_event_loop()
    other.run_until_complete(_live(containment, program))
    other.close()


def ignores_sigchld(containment: Mechanism, program: str, loop: str) -> None:
    """The kernel reaps every child at once."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    _run(containment, program, loop)


def reaps_in_a_thread(containment: Mechanism, program: str, loop: str) -> None:
    """A thread waits for any child."""

    def reap() -> None:
        while not over.is_set():
            with contextlib.suppress(ChildProcessError):
                os.waitpid(-1, 0)

    over = threading.Event()
    thread = threading.Thread(target=reap)
    thread.start()
    _run(containment, program, loop)
    over.set()
    thread.join()


def reaps_in_a_handler(containment: Mechanism, program: str, loop: str) -> None:
    """A handler of SIGCHLD waits for any child."""

    def reap(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass

    signal.signal(signal.SIGCHLD, reap)
    _run(containment, program, loop)


def closes_standard_streams(containment: Mechanism, program: str) -> None:
    """Descriptors 0, 1 and 2 are closed, so that the next that are opened could be these."""
    kept = [os.dup(fd) for fd in range(3)]
    for fd in range(3):
        os.close(fd)
    try:
        asyncio.run(_closed(containment, program))
    finally:
        for number, fd in enumerate(kept):
            os.dup2(fd, number)
            os.close(fd)


def closes_input_later(containment: Mechanism, program: str) -> None:
    """Descriptor 0 is closed when a mechanism is tried, and when a manager opens what its guards are given."""
    kept = os.dup(0)
    os.close(0)
    try:
        assert LocalProcessManager(containment=containment).containment.mechanism == containment
        os.dup2(kept, 0)
        asyncio.run(_closes_input(containment, program))
    finally:
        os.dup2(kept, 0)
        os.close(kept)


async def _closes_input(containment: Mechanism, program: str) -> None:
    os.close(0)
    lease = None if containment == "process_group" else 60.0
    async with LocalProcessManager(containment=containment, lease=lease) as manager:
        child = await manager.spawn_child(SpawnParams(program=program))
        await manager.kill_tree(child.pid)
        assert await manager.wait_for_exit(child.pid, PATIENCE)


async def _closed(containment: Mechanism, program: str) -> None:
    async with LocalProcessManager(containment=containment) as manager:
        child = await manager.spawn_child(SpawnParams(program=program, stdin="inherit"))

        def found() -> set[int]:
            return {int(fd) for fd in os.listdir(f"/proc/{child.os_pid}/fd")}  # noqa: PTH208

        # A spawn is told when the program has its memory; the kernel closes what is close-on-exec a moment later.
        await until(lambda: found() <= {0, 1, 2}, "the child has its standard streams alone")
        await manager.kill_tree(child.pid)
        assert await manager.wait_for_exit(child.pid, PATIENCE)
