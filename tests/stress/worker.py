"""A supervisor under stress: forked, told what to do by its arguments, and killed at any moment."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import random
import resource
import signal
import time
from pathlib import Path

from treeguard import ChildHandle, GuardLost, LocalProcessManager, SpawnParams
from treeguard.types import Mechanism

from ..support.adversary import Adversary
from ..support.judge import carriers, look
from ..support.patience import PATIENCE, until
from ..support.programs import Programs

__all__ = ["churn", "crowd"]

#: Trees that one supervisor has under way at a time.
_AT_ONCE = 16
#: How a short tree ends, and how often in a hundred. An adversary costs the judge a look at every process.
_ENDS = {"itself": 35, "kill": 35, "terminate": 15, "guard": 12, "adversary": 3}
#: Seconds between two reports.
_REPORTS = 0.5
_PAGE = resource.getpagesize()


class Tally:
    """What a worker has done, reported as lines of JSON."""

    def __init__(self, report: int) -> None:
        self._report = report
        self._reported = 0.0
        self.trees = self.guards_killed = self.alive = 0

    def tell(self, *, at_once: bool = False) -> None:
        """Now and then."""
        now = time.monotonic()
        if at_once or now - self._reported >= _REPORTS:
            self._reported = now
            line = {
                "trees": self.trees,
                "guards": self.guards_killed,
                "alive": self.alive,
                "descriptors": len(os.listdir("/proc/self/fd")),  # noqa: PTH208
                "memory": int(Path("/proc/self/statm").read_text("ascii").split()[1]) * _PAGE,
            }
            os.write(self._report, json.dumps(line).encode() + b"\n")


def kill_guard(child: ChildHandle) -> bool:
    """SIGKILL to a guard of this process's, by handle. Whether there was one."""
    root = look(child.os_pid)
    if root is None or root.parent in (os.getpid(), 1):
        return False
    with contextlib.suppress(ProcessLookupError):
        guard = os.pidfd_open(root.parent)
        try:
            seen = look(root.parent)
            if seen is not None and seen.parent == os.getpid():
                signal.pidfd_send_signal(guard, signal.SIGKILL)
                return True
        finally:
            os.close(guard)
    return False


async def _short_tree(manager: LocalProcessManager, programs: Programs, chance: random.Random, tally: Tally) -> None:
    """Ends by itself, or is ended in some way."""
    (how,) = chance.choices(list(_ENDS), list(_ENDS.values()))
    if how == "adversary" and manager.containment.contains_escapees:
        with Adversary(programs, chance.choice(["family", "session", "daemon", "deaf", "fled"])) as adversary:
            child = await manager.spawn_child(adversary.params())
            adversary.spawned()
            await asyncio.sleep(chance.uniform(0, 0.005))
            await manager.kill_tree(child.pid)
            assert await manager.wait_for_exit(child.pid, PATIENCE)
            assert not carriers(adversary.marker)
            # A process that is being started holds copies of all descriptors for a moment.
            await until(lambda: not adversary.traces, "nobody holds the pipe")
        return
    child = await manager.spawn_child(SpawnParams(programs.tiny, ("once",) if how == "itself" else ()))
    if how == "guard" and kill_guard(child):
        tally.guards_killed += 1
    elif how == "terminate":
        await manager.terminate_tree(child.pid)
    elif how != "itself":
        await manager.kill_tree(child.pid)
    with contextlib.suppress(GuardLost):
        assert await manager.wait_for_exit(child.pid, PATIENCE)


async def _churn(mechanism: Mechanism, programs: Programs, seed: int, until: float, tally: Tally) -> None:
    chance = random.Random(seed)
    async with LocalProcessManager(containment=mechanism) as manager:

        async def one_after_another() -> None:
            while time.monotonic() < until:
                await _short_tree(manager, programs, chance, tally)
                tally.trees += 1
                tally.tell()

        await asyncio.gather(*(one_after_another() for _ in range(_AT_ONCE)))


def churn(mechanism: Mechanism, programs: Programs, seed: int, until: float, report: int) -> None:
    """Short trees until the time is over."""
    logging.getLogger("treeguard").setLevel(logging.CRITICAL)
    tally = Tally(report)
    asyncio.run(_churn(mechanism, programs, seed, until, tally))
    tally.tell(at_once=True)


async def _crowd(mechanism: Mechanism, programs: Programs, seed: int, size: int, tally: Tally, go: int) -> None:
    chance = random.Random(seed)
    async with LocalProcessManager(containment=mechanism) as manager:
        handles: list[ChildHandle] = []
        while len(handles) < size:
            spawning = [manager.spawn_child(SpawnParams(programs.tiny)) for _ in range(min(50, size - len(handles)))]
            handles += await asyncio.gather(*spawning)
            tally.alive = len(handles)
            tally.tell()
        tally.tell(at_once=True)
        # Few: what is left of each lost tree is looked for among all the processes there are.
        lost = [child for child in chance.sample(handles, size // 400) if kill_guard(child)]
        tally.guards_killed = len(lost)
        killed = chance.sample(handles, size // 50)
        for child in killed:
            await manager.kill_tree(child.pid)
        for child in {*lost, *killed}:
            with contextlib.suppress(GuardLost):
                assert await manager.wait_for_exit(child.pid, PATIENCE)
        tally.trees = len(handles)
        tally.tell(at_once=True)
        await asyncio.get_running_loop().run_in_executor(None, os.read, go, 1)


def crowd(mechanism: Mechanism, programs: Programs, seed: int, size: int, go: int, report: int) -> None:
    """Many trees that live at a time, until a byte comes."""
    logging.getLogger("treeguard").setLevel(logging.CRITICAL)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(_crowd(mechanism, programs, seed, size, Tally(report), go))
