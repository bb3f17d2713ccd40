"""Letting a tree stand still, and go on."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ...errors import TreeNotFrozen
from ..cgroup.cgroupfs import write
from ..cgroup.cgroups import stay_out, unlock
from ..processes import ProcessInfo, get_process, signal_if
from ..waiting import aside, run_to_completion
from .members import Members

__all__ = ["CgroupFreezer", "Freezer", "SignalFreezer", "freeze", "thaw"]

#: How soon and how rarely, in seconds, it is looked whether all stand still.
_FIRST_LOOK = 0.001
_LAST_LOOK = 0.05


class Freezer(ABC):
    """Freezes one tree. Its calls may take milliseconds."""

    @abstractmethod
    def freeze(self) -> bool:
        """To be called until all stand still; whether they do."""

    @abstractmethod
    def thaw(self) -> None:
        """Lets go on what :meth:`freeze` has brought to a stand."""


class CgroupFreezer(Freezer):
    """By ``cgroup.freeze`` (cgroups(7), Linux 5.2): all at once, and whatever is forked meanwhile is born frozen."""

    def __init__(self, leaf: Path) -> None:
        self._leaf = leaf
        self._own = leaf.parent.parent

    def freeze(self) -> bool:
        """See :meth:`Freezer.freeze`."""
        try:
            # Whoever writes this process's number into the leaf would have it freeze itself.
            stay_out(self._leaf, self._own)
            self._write("1")
            return "frozen 1" in (self._leaf / "cgroup.events").read_text("ascii")
        except FileNotFoundError:  # the tree is empty, its leaf removed
            return True

    def thaw(self) -> None:
        """See :meth:`Freezer.thaw`."""
        with contextlib.suppress(FileNotFoundError):
            self._write("0")

    def _write(self, text: str) -> None:
        """Also where the tree, which has the same user, has locked its leaf or the file."""
        file = self._leaf / "cgroup.freeze"
        try:
            write(file, text)
        except PermissionError:
            unlock(self._leaf, self._own, file, self._leaf / "cgroup.events")
            write(file, text)


class SignalFreezer(Freezer):
    """By SIGSTOP to one after the other, until a look finds none that runs.

    Processes notice: a parent is told that its child was stopped (waitpid(2), WUNTRACED). So parents are stopped first,
    and let go on last. What was stopped by somebody else before stays so.
    """

    def __init__(self, members: Members) -> None:
        self._members = members
        self._stopped: dict[int, ProcessInfo] = {}

    def freeze(self) -> bool:
        """See :meth:`Freezer.freeze`."""
        still = True
        for pid in self._members.pids():
            seen = get_process(pid)
            if seen is None or not seen.alive or seen.stopped:
                continue
            still = False
            if signal_if(pid, signal.SIGSTOP, partial(_is_still, pid, seen)):
                self._stopped[pid] = seen
        return still

    def thaw(self) -> None:
        """See :meth:`Freezer.thaw`."""
        while self._stopped:
            pid, seen = self._stopped.popitem()
            signal_if(pid, signal.SIGCONT, partial(_is_still, pid, seen))


def _is_still(pid: int, seen: ProcessInfo) -> bool:
    found = get_process(pid)
    return found is not None and found.started == seen.started


async def freeze(freezers: Sequence[Freezer], timeout: float | None) -> None:
    """Freezes one after the other. If that does not succeed in ``timeout`` seconds, or is cancelled, all go on."""
    try:
        await asyncio.wait_for(_freeze(freezers), timeout)
    except BaseException as error:
        await run_to_completion(thaw(freezers))
        if isinstance(error, asyncio.TimeoutError):
            raise TreeNotFrozen(f"processes of the tree did not stand still within {timeout:g} s") from None
        raise


async def _freeze(freezers: Sequence[Freezer]) -> None:
    for each in freezers:
        pause = _FIRST_LOOK
        # Finished even when cancelled: else it might stop another one while all are let go on.
        while not await run_to_completion(aside(each.freeze)):
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LAST_LOOK)


async def thaw(freezers: Sequence[Freezer]) -> None:
    """Lets all go on, the last frozen first."""
    for each in reversed(freezers):
        await aside(each.thaw)
