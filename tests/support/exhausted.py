"""A process in which no descriptor is left when a guard dies. It has loaded nothing that a plain life does not need."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from pathlib import Path

from treeguard import ChildHandle, GuardLost, LocalProcessManager, SpawnParams
from treeguard._core import standby
from treeguard.types import Mechanism

from .patience import PATIENCE, until
from .shortage import all_descriptors_taken

__all__ = ["load_in_time", "lose_guard"]

#: In its group a root has another process, which does not end with the guard.
_SCRIPT = "sleep 1000 & echo $!; exec sleep 1000"
#: What a manager in use has loaded.
_LATE = ("treeguard._core.recovery", "treeguard._core.inspection.survivors", "treeguard.shutdown")
#: Seconds in which nothing is expected to happen.
_VAIN = 1.0


def lose_guard(mechanism: Mechanism, keeps: bool) -> list[bool]:
    """Kills a guard while all descriptors are taken.

    Says whether the end of its tree was told meanwhile, and was true, and whether it was told afterwards at the latest.
    ``keeps``: whether the manager keeps descriptors for such a moment.
    """
    if not keeps:
        standby._DESCRIPTORS = 0
    return asyncio.run(_lose_guard(mechanism, PATIENCE if keeps else _VAIN))


async def _lose_guard(mechanism: Mechanism, patience: float) -> list[bool]:
    async with LocalProcessManager(containment=mechanism) as manager:
        # Below those of the tree: what its end sets free is above the limit then.
        below = os.open(os.devnull, os.O_RDONLY)
        reader, writer = os.pipe()
        child = await manager.spawn_child(SpawnParams("sh", ("-c", _SCRIPT), stdout=writer))
        member = int(os.read(reader, 100))
        guard = int(_fields(Path(f"/proc/{child.os_pid}/stat").read_bytes())[1])
        stat = os.open(f"/proc/{member}/stat", os.O_RDONLY)
        assert "treeguard._core.recovery" not in sys.modules
        # It sweeps what others left, with descriptors of its own.
        await until(lambda: threading.active_count() == 1, "no thread is left")
        os.close(below)
        with all_descriptors_taken():
            os.kill(guard, signal.SIGKILL)
            told = await _told(manager, child, patience)
            gone = _has_ended(stat)
        for fd in (reader, writer, stat):
            os.close(fd)
        return [told, gone, await _told(manager, child, PATIENCE)]


def load_in_time(mechanism: Mechanism) -> list[bool]:
    """Whether the code is loaded that is needed in bad moments: when a manager begins, and after some time of use."""
    standby._SECONDS = 0.01
    return asyncio.run(_load_in_time(mechanism))


async def _load_in_time(mechanism: Mechanism) -> list[bool]:
    async with LocalProcessManager(containment=mechanism):
        before = any(name in sys.modules for name in _LATE)
        await until(lambda: all(name in sys.modules for name in _LATE), "the code is loaded")
        return [before, True]


async def _told(manager: LocalProcessManager, child: ChildHandle, timeout: float) -> bool:
    """Whether the end of the tree is told in time: empty, or as far as it can be found."""
    try:
        return await manager.wait_for_exit(child.pid, timeout)
    except GuardLost:
        return True


def _has_ended(stat: int) -> bool:
    try:
        return _fields(os.pread(stat, 1000, 0))[0] in (b"Z", b"X")
    except ProcessLookupError:
        return True


def _fields(stat: bytes) -> list[bytes]:
    return stat.rpartition(b")")[2].split()
