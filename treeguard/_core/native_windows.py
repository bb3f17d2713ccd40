"""The C core's parts for Windows with types: jobs, and the port that reports their events."""

from __future__ import annotations

import errno
import os
import threading
from typing import NamedTuple

from .native import ASK, NativeEngine, NativeTree, _ffi, _lib

__all__ = ["JobStats", "NativeJob", "NativePort"]

#: SIGBREAK, and what asks a root to end: that, SIGTERM, and CTRL_BREAK_EVENT of the module ``signal``.
_BREAK = 21
_ASKING = (_BREAK, 15, 1)
#: How many process ids to ask for at first.
_ROOM = 64


class JobStats(NamedTuple):
    """``struct tg_stats``: microseconds and bytes."""

    user_us: int
    system_us: int
    memory: int
    peak_memory: int
    processes: int


class NativeJob(NativeTree):
    """A tree in a Windows job. Other threads than the one that frees it may look into it."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()

    def members(self) -> list[int]:
        """The process ids of all members of the job."""
        room = _ROOM
        with self._lock:
            while self._cell[0]:
                pids = _ffi.new("int32_t[]", room)
                n = self._checked(_lib.tg_tree_members(self._cell[0], pids, room))
                if n <= room:
                    return list(pids[0:n])
                room = 2 * n
        return []

    def has(self, pid: int) -> bool:
        """Whether a live process is in the job."""
        with self._lock:
            return bool(self._cell[0]) and bool(_lib.tg_tree_has(self._cell[0], pid))

    def suspend(self, pid: int, suspended: bool) -> bool:
        """Suspends a member, or lets it go on. Returns whether there was such a member."""
        with self._lock:
            ret = _lib.tg_tree_suspend(self._cell[0], pid, suspended) if self._cell[0] else -errno.ESRCH
        return ret != -errno.ESRCH and self._checked(ret) == 0

    def signal(self, signal: int) -> None:
        """Asks the root to end, by SIGTERM or CTRL_BREAK. Raises ValueError for another signal: there is none."""
        if signal & ~ASK not in _ASKING:
            raise ValueError(
                f"Unsupported signal: {signal & ~ASK}. On Windows a tree can be sent SIGTERM and CTRL_BREAK_EVENT"
            )
        super().signal(_BREAK)

    def stats(self) -> JobStats | None:
        """The usage of the tree; None once it is freed."""
        ret = _ffi.new("struct tg_stats *")
        with self._lock:
            if not self._cell[0]:
                return None
            self._checked(_lib.tg_tree_stats(self._cell[0], ret))
        return JobStats(ret.user_us, ret.system_us, ret.memory, ret.peak_memory, ret.processes)

    def free(self) -> None:
        """See :meth:`NativeTree.free`."""
        with self._lock:
            super().free()

    @staticmethod
    def _checked(ret: int) -> int:
        if ret < 0:
            raise OSError(-ret, os.strerror(-ret))
        return ret


class NativePort(NativeEngine):
    """The engine on Windows: a port that a thread must wait on for events of the trees."""

    __slots__ = ()

    _kind_of_tree = NativeJob

    def wait(self, timeout: float | None) -> bool:
        """Waits at most ``timeout`` seconds for an event. Returns whether there is one, or :meth:`wake` was called.

        Only one thread at a time may wait. Other threads may use the port in the meantime, but not close it.
        """
        ret = _lib.tg_engine_wait(self._cell[0], -1 if timeout is None else int(timeout * 1000))
        if ret < 0:
            raise OSError(-ret, os.strerror(-ret))
        return bool(ret)

    def wake(self) -> None:
        """Ends the wait of a thread."""
        _lib.tg_engine_wake(self._cell[0])

    @staticmethod
    def limits() -> tuple[bool, bool, bool]:
        """Whether limits of memory, processes and CPU time can be set on a job here and read back unchanged."""
        kept: int = _lib.tg_job_limits()
        return bool(kept & 1), bool(kept & 2), bool(kept & 4)
