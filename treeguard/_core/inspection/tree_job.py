"""Looking into a tree in a Windows job: its members, what it uses, and freezing it."""

from __future__ import annotations

import errno
from collections.abc import Container

from ...errors import RequestNotDelivered
from ...types import TreeStats
from ..native_windows import NativeJob
from .freezer import Freezer
from .members import Members
from .tree import Inspection
from .usage import Accounts

__all__ = ["inspect_job"]


def inspect_job(job: NativeJob, root: int) -> Inspection:
    """The view into a tree in a job."""
    return Inspection(_Members(job, root), _Freezer(job), _Accounts(job))


class _Members(Members):
    """The members as the job lists them, the root first. Jobs nested in it make the order differ from that of birth."""

    def __init__(self, job: NativeJob, root: int) -> None:
        self._job = job
        self._root = root

    def pids(self) -> tuple[int, ...]:
        return tuple(sorted(self._job.members(), key=lambda pid: pid != self._root))

    def has(self, pid: int) -> bool:
        return self._job.has(pid)

    def signal_outside(self, groups: Container[int], number: int, *, ask: bool = False) -> None:
        """Raises an error: on Windows no request reaches any process, only a console group or a window."""
        if any(pid not in groups for pid in self.pids()):
            raise RequestNotDelivered(errno.ENOTSUP, "on Windows roots alone can be asked to end")


class _Freezer(Freezer):
    """Suspends all threads of one process after the other, until a look finds none that it has not suspended.

    The next look finds the processes that were started in the meantime.
    """

    def __init__(self, job: NativeJob) -> None:
        self._job = job
        self._suspended: list[int] = []

    def freeze(self) -> bool:
        """See :meth:`Freezer.freeze`."""
        running = [pid for pid in self._job.members() if pid not in self._suspended]
        for pid in running:
            if self._job.suspend(pid, True):
                self._suspended.append(pid)
        return not running

    def thaw(self) -> None:
        """See :meth:`Freezer.thaw`."""
        while self._suspended:
            self._job.suspend(self._suspended.pop(), False)


class _Accounts(Accounts):
    """The job's own accounts: times of all processes ever in it, and the most memory that they committed together."""

    def __init__(self, job: NativeJob) -> None:
        self._job = job

    def read(self) -> TreeStats:
        stats = self._job.stats()
        if stats is None:
            return TreeStats()
        return TreeStats(
            user_time=stats.user_us / 1e6,
            system_time=stats.system_us / 1e6,
            memory=stats.memory,
            peak_memory=stats.peak_memory,
            processes=stats.processes,
        )
