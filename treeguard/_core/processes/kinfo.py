"""Processes as the C core sees them by sysctl(3), on macOS and FreeBSD. On Linux ``/proc`` takes its place."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from collections.abc import Callable, Iterator

from .. import native_kinfo
from .proc_details import CpuTimes
from .process import ProcessInfo

__all__ = [
    "environment",
    "find",
    "get_process",
    "iter_pids",
    "kill_if",
    "now",
    "signal_if",
    "snapshot",
    "spent",
    "tick",
]


def snapshot() -> list[ProcessInfo | None]:
    """See :func:`treeguard._core.processes.listing.snapshot`."""
    return [get_process(pid) for pid in iter_pids()]


def tick() -> float:
    """Seconds in the unit of :attr:`ProcessInfo.started`, which is microseconds since 1970 here."""
    return 1e-6


def now() -> float:
    """The time in seconds, on the clock of :attr:`ProcessInfo.started`."""
    return time.time()


def get_process(pid: int) -> ProcessInfo | None:
    """The process of that number, even if it is dead and unreaped; None if there is none or it cannot be seen."""
    seen = native_kinfo.look(pid)
    if seen is None:
        return None
    return ProcessInfo(pid, seen.name, seen.state, seen.parent, seen.group, seen.session, seen.started_us)


def find(pid: int) -> ProcessInfo | None:
    """The process of that number; None if there is certainly none. Raises OSError if that cannot be determined."""
    seen = get_process(pid)
    if seen is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 0)
            raise OSError(errno.EAGAIN, "a process that is there could not be looked at", str(pid))
    return seen


def spent(pid: int) -> CpuTimes | None:
    """What the process of that number has used; None if no such process is alive.

    The usage of its children and its peak memory are not available here and are 0. macOS does not show the usage of
    other users' processes.
    """
    seen = native_kinfo.look(pid)
    if seen is None or seen.state == "Z":
        return None
    return CpuTimes(seen.user_us / 1e6, seen.system_us / 1e6, 0.0, 0.0, seen.memory, 0)


def environment(pid: int) -> bytes:
    """The environment that a process began with. Always empty: it is not read on these systems."""
    del pid
    return b""


def iter_pids() -> Iterator[int]:
    """The numbers of all processes."""
    return iter(native_kinfo.list_processes())


def kill_if(pid: int, meant: Callable[[], bool]) -> bool:
    """Kills the process of that number if it is the one ``meant``. Returns whether it was, and could be killed."""
    return signal_if(pid, signal.SIGKILL, meant)


def signal_if(pid: int, number: int, meant: Callable[[], bool]) -> bool:
    """Signals the process of that number if it is the one ``meant``. Returns whether it was, and could be signalled.

    These systems have no process handles, so the number may change hands between the look and the signal.
    """
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if meant():
            os.kill(pid, number)
            return True
    return False
