"""Freezing and thawing a tree."""

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
from ..cgroup.emptying import stay_out, unlock
from ..processes.system import ProcessInfo, get_process, is_still, signal_if
from ..waiting import aside, run_to_completion
from .members import Members

__all__ = ["CgroupFreezer", "Freezer", "SignalFreezer", "freeze", "thaw"]

#: The pause between looks that check whether all processes are frozen, in seconds: the first, and the longest.
_FIRST_LOOK = 0.001
_LAST_LOOK = 0.05


class Freezer(ABC):
    """Freezes one tree. Its calls may take milliseconds."""

    @property
    def holds(self) -> bool:
        """Whether it has stopped processes that SIGCONT would let go on."""
        return False

    @abstractmethod
    def freeze(self) -> bool:
        """Freezes the tree. Returns whether all its processes are frozen; call it again until they are."""

    @abstractmethod
    def thaw(self) -> None:
        """Lets the processes that :meth:`freeze` has frozen go on."""


class CgroupFreezer(Freezer):
    """Freezes by ``cgroup.freeze`` (cgroups(7), Linux 5.2): all processes at once, and new forks are born frozen."""

    def __init__(self, leaf: Path) -> None:
        self._leaf = leaf
        self._own = leaf.parent.parent

    def freeze(self) -> bool:
        """See :meth:`Freezer.freeze`."""
        try:
            # If another process has moved this one into the leaf, this process would freeze itself.
            stay_out(self._leaf, self._own)
            self._write("1")
            return "frozen 1" in (self._leaf / "cgroup.events").read_text("ascii")
        except FileNotFoundError:  # the tree is empty and its leaf removed
            return True

    def thaw(self) -> None:
        """See :meth:`Freezer.thaw`."""
        with contextlib.suppress(FileNotFoundError):
            self._write("0")

    def _write(self, text: str) -> None:
        """Writes even if the tree, which runs as the same user, has locked its leaf or the file."""
        file = self._leaf / "cgroup.freeze"
        try:
            write(file, text)
        except PermissionError:
            unlock(self._leaf, self._own, file, self._leaf / "cgroup.events")
            write(file, text)


class SignalFreezer(Freezer):
    """Freezes by SIGSTOP to one process after the other, until a look finds none that runs.

    Processes notice this: a parent can see that its child was stopped (waitpid(2), WUNTRACED). So parents are stopped
    first and go on last. A process that was already stopped stays stopped afterwards.
    """

    def __init__(self, members: Members) -> None:
        self._members = members
        self._stopped: dict[int, ProcessInfo] = {}

    @property
    def holds(self) -> bool:
        """See :attr:`Freezer.holds`."""
        return bool(self._stopped)

    def freeze(self) -> bool:
        """See :meth:`Freezer.freeze`."""
        still = True
        stopped: list[ProcessInfo] = []
        waiting: set[int] = set()
        for pid in self._members.pids():
            seen = get_process(pid)
            if seen is None or not seen.alive:
                continue
            if seen.stopped:
                stopped.append(seen)
                continue
            still = False
            if seen.state == "D" and pid in self._stopped:
                waiting.add(pid)
            if signal_if(pid, signal.SIGSTOP, partial(is_still, seen)):
                self._stopped[pid] = seen
        self._let_exec([seen for seen in stopped if seen.parent in waiting])
        return still

    def _let_exec(self, children: Sequence[ProcessInfo]) -> None:
        """Continues processes whose parents do not stop.

        A parent that called vfork(2) waits for the exec of its child, in a state in which it takes no stop. The next
        look stops such a child again.
        """
        for seen in children:
            if self._stopped.pop(seen.pid, None) is not None:
                signal_if(seen.pid, signal.SIGCONT, partial(is_still, seen))

    def thaw(self) -> None:
        """See :meth:`Freezer.thaw`."""
        while self._stopped:
            pid, seen = self._stopped.popitem()
            signal_if(pid, signal.SIGCONT, partial(is_still, seen))


async def freeze(freezers: Sequence[Freezer], timeout: float | None) -> None:
    """Freezes trees one after the other. All go on if that takes more than ``timeout`` seconds or is cancelled."""
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
        # Must finish even when cancelled: otherwise it might stop another process after all were thawed.
        while not await run_to_completion(aside(each.freeze)):
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LAST_LOOK)


async def thaw(freezers: Sequence[Freezer]) -> None:
    """Thaws all trees, the last frozen first."""
    for each in reversed(freezers):
        await aside(each.thaw)
