"""What a tree has used so far, and what it uses now."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

from ...types import TreeStats
from ..processes.system import spent
from .members import Members

__all__ = ["Accounts", "CgroupAccounts", "ProcAccounts"]


class Accounts(ABC):
    """The resource usage of one tree. Reading it may take milliseconds."""

    @abstractmethod
    def read(self) -> TreeStats:
        """The usage at this moment."""


class ProcAccounts(Accounts):
    """The sum over the live processes, from ``/proc``.

    For ended processes it includes the CPU time of those that their parents, or the guard, have waited for. Their
    memory is unknown.
    """

    def __init__(self, members: Members, guard: int | None) -> None:
        self._members = members
        self._guard = guard

    def read(self) -> TreeStats:
        """See :meth:`Accounts.read`."""
        living = [seen for pid in self._members.pids() if (seen := spent(pid)) is not None]
        times = [(s.user + s.reaped_user, s.system + s.reaped_system) for s in living]
        for reaper in (self._guard, self._members.init()):
            if reaper is not None and (reaped := spent(reaper)) is not None:
                times.append((reaped.reaped_user, reaped.reaped_system))
        return TreeStats(
            user_time=sum(user for user, _ in times),
            system_time=sum(system for _, system in times),
            memory=sum(s.memory for s in living),
            peak_memory=sum(s.peak_memory for s in living),
            processes=len(living),
        )


class CgroupAccounts(Accounts):
    """The accounts of the tree's cgroup. Where a controller is missing, the values come from ``/proc``."""

    def __init__(self, leaf: Path, members: Members, guard: int) -> None:
        self._leaf = leaf
        self._otherwise = ProcAccounts(members, guard)

    def read(self) -> TreeStats:
        """See :meth:`Accounts.read`."""
        stats = self._otherwise.read()
        times = self._flat("cpu.stat")
        memory, peak = self._number("memory.current"), self._number("memory.peak")
        return TreeStats(
            user_time=times.get("user_usec", stats.user_time * 1e6) / 1e6,
            system_time=times.get("system_usec", stats.system_time * 1e6) / 1e6,
            memory=stats.memory if memory is None else memory,
            peak_memory=stats.peak_memory if peak is None else peak,
            processes=stats.processes,
        )

    def _flat(self, name: str) -> dict[str, int]:
        try:
            lines = (self._leaf / name).read_text("ascii").splitlines()
        except OSError:  # there is no such controller here, or the tree is empty
            return {}
        return {key: int(value) for key, _, value in (line.partition(" ") for line in lines)}

    def _number(self, name: str) -> int | None:
        try:
            return int((self._leaf / name).read_text("ascii"))
        except OSError:
            return None
