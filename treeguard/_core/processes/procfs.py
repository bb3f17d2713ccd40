"""Processes as ``/proc`` shows them: looking at them, and signalling exactly those that were seen, by handle."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from ..native_processes import Row, processes
from .freezer import release

__all__ = [
    "CpuTimes",
    "ProcessInfo",
    "environment",
    "find",
    "get_process",
    "iter_pids",
    "kill_if",
    "now",
    "process_of",
    "signal_if",
    "snapshot",
    "spent",
    "threads_of",
    "tick",
]

_PROC = Path("/proc")
_DEAD = "ZX"
_STOPPED = "Tt"
#: The states in which a thread does nothing, the least informative last. The state of another thread tells more.
_STILL = _STOPPED + _DEAD
_CHUNK = 32768


class ProcessInfo(NamedTuple):
    """A process as it was seen. Its number and its start, in clock ticks after boot, identify it.

    Its state is that of its main thread. If that thread has ended or is stopped, it is the state of the most active
    thread.
    """

    pid: int
    name: str
    state: str
    parent: int
    group: int
    session: int
    started: int
    #: Page faults of the children that it has waited for, which only grow; 0 where that is unknown.
    reaped: int = 0

    @property
    def alive(self) -> bool:
        """Whether it has not ended. A process that has ended may still wait to be reaped."""
        return self.state not in _DEAD

    @property
    def stopped(self) -> bool:
        """Whether a signal or a tracer has stopped it."""
        return self.state in _STOPPED


class CpuTimes(NamedTuple):
    """The usage of a process: seconds, for itself and the children that it has waited for; bytes, for itself."""

    user: float
    system: float
    reaped_user: float
    reaped_system: float
    memory: int
    peak_memory: int


@functools.cache
def tick() -> float:
    """Seconds in a clock tick, the unit of :attr:`ProcessInfo.started`."""
    return 1 / os.sysconf("SC_CLK_TCK")


def now() -> float:
    """The time in seconds, on the clock of :attr:`ProcessInfo.started`."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def get_process(pid: int) -> ProcessInfo | None:
    """The process of that number, even if it is dead and unreaped; None if there is none or it cannot be seen."""
    try:
        return _seen(pid, *_stat(pid))
    except OSError:
        return None


def find(pid: int) -> ProcessInfo | None:
    """The process of that number; None if there is certainly none. Raises OSError if that cannot be determined."""
    try:
        return _seen(pid, *_stat(pid))
    except (FileNotFoundError, ProcessLookupError):
        # /proc may hide a process of another user (hidepid). os.kill raises PermissionError then.
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        raise


def _seen(pid: int, name: str, fields: list[str]) -> ProcessInfo:
    return ProcessInfo(pid, name, _state(pid, fields), int(fields[1]), int(fields[2]), int(fields[3]), int(fields[19]))


def _state(pid: int, fields: list[str]) -> str:
    """The state of a process. A main thread that has ended (pthread_exit(3)) is a zombie while other threads live.

    Ended threads count in num_threads until a tracer has waited for them, so that number alone says nothing.
    """
    state = fields[0]
    if state in _STILL and int(fields[17]) > 1:
        return min((state, *_threads(pid).values()), key=_STILL.find)
    return state


def _threads(pid: int) -> dict[int, str]:
    """The threads of a process with their states; empty if the process cannot be seen."""
    found = {}
    for thread in threads_of(pid):
        with contextlib.suppress(OSError):
            found[thread] = _stat(f"{pid}/task/{thread}")[1][0]
    return found


def threads_of(pid: int) -> set[int]:
    """The numbers of a process's threads; empty if it is gone."""
    try:
        return {int(thread) for thread in os.listdir(f"/proc/{pid}/task")}  # noqa: PTH208 - numbers, not paths
    except OSError:
        return set()


def process_of(thread: int) -> int:
    """The number of a thread's process; the thread's own number if that cannot be seen."""
    try:
        status = _read(thread, "status")
    except OSError:
        return thread
    # The name comes before it, and may contain anything but an end of line.
    return int(status.partition(b"\nTgid:")[2].split(maxsplit=1)[0])


def spent(pid: int) -> CpuTimes | None:
    """What the process of that number has used; None if no such process is alive."""
    try:
        _, fields = _stat(pid)
        if _state(pid, fields) in _DEAD:
            return None
        # Once the main thread has ended, its status no longer shows any memory.
        living = (f"{pid}/task/{thread}" for thread, state in _threads(pid).items() if state not in _DEAD)
        where = next(living, pid) if fields[0] in _DEAD else pid
        status = _read(where, "status").decode("utf-8", "replace")
    except OSError:
        return None
    user, system, reaped_user, reaped_system = (int(ticks) * tick() for ticks in fields[11:15])
    return CpuTimes(user, system, reaped_user, reaped_system, _kib(status, "VmRSS"), _kib(status, "VmHWM"))


def _stat(pid: int | str) -> tuple[str, list[str]]:
    # The name may contain anything, so fields are counted from its last parenthesis (proc(5)).
    text = _read(pid, "stat").decode("utf-8", "replace")
    name, _, rest = text.partition("(")[2].rpartition(")")
    return name, rest.split()


@functools.cache
def _check_numbers(own: int) -> None:
    """Raises FileNotFoundError if ``/proc`` shows another pid namespace: its numbers mean other processes here."""
    if os.readlink("/proc/self") != str(own):  # noqa: PTH115 - a number, not a path
        raise FileNotFoundError(errno.ENOENT, "/proc shows the processes of another pid namespace")


def _read(pid: int | str, name: str) -> bytes:
    """The contents of a file of a process, or of a thread (``PID/task/THREAD``). Raises OSError.

    It is called for thousands of processes, so it avoids the cost of file and path objects.
    """
    _check_numbers(os.getpid())
    fd = os.open(f"/proc/{pid}/{name}", os.O_RDONLY)
    try:
        text = b""
        while chunk := os.read(fd, _CHUNK):
            text += chunk
        return text
    finally:
        os.close(fd)


def _kib(status: str, name: str) -> int:
    """A value in bytes. A process that is ending has no memory left, and no such line in its status."""
    _, _, rest = status.partition(f"\n{name}:")
    return int(rest.split(maxsplit=1)[0]) * 1024 if rest else 0


def environment(pid: int) -> bytes:
    """The environment that a live process began with: strings, each after a NUL; only a NUL if it cannot be read."""
    # A main thread that has ended has no environment any more, even if other threads live.
    return b"\0" + (
        _environ(pid) or next(filter(None, (_environ(f"{pid}/task/{thread}") for thread in _threads(pid))), b"")
    )


def _environ(where: int | str) -> bytes:
    try:
        return _read(where, "environ")
    except OSError:
        return b""


def snapshot() -> list[ProcessInfo | None]:
    """All processes at one moment, without their names. None stands for a process that was gone when it was read.

    The C core reads thousands in tens of milliseconds, while other threads run. Raises OSError.
    """
    return [None if row.state == "\0" else _seen_in(row) for row in processes()]


def _seen_in(row: Row) -> ProcessInfo:
    return ProcessInfo(row.pid, "", row.state, row.parent, row.group, row.session, row.started, row.reaped)


def iter_pids() -> Iterator[int]:
    """The numbers of all processes. Raises FileNotFoundError if ``/proc`` does not show them."""
    _check_numbers(os.getpid())
    return (int(entry) for entry in os.listdir(_PROC) if entry.isdecimal())  # noqa: PTH208 - numbers, not paths


def kill_if(pid: int, meant: Callable[[], bool]) -> bool:
    """Kills the process of that number if it is the one ``meant``. Returns whether it was, and could be killed.

    A process that a freezer holds is released, since it would not die before.
    """
    killed = signal_if(pid, signal.SIGKILL, meant)
    # A frozen process is shown as if it waited for a disk.
    if killed and (seen := get_process(pid)) is not None and seen.state == "D":
        release(pid)
    return killed


def signal_if(pid: int, number: int, meant: Callable[[], bool]) -> bool:
    """Signals the process of that number if it is the one ``meant``. Returns whether it was, and could be signalled.

    The handle is opened before the look. So the signal goes to the process that was seen, even if another process gets
    its number later. Without handles (before Linux 5.3, or where a filter forbids them) the moment between the look and
    the signal is unsafe.
    """
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    except OSError:
        handle = -1
    try:
        return meant() and _send(pid, handle, number)
    finally:
        if handle >= 0:
            os.close(handle)


def _send(pid: int, handle: int, number: int) -> bool:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if handle >= 0:
            try:
                signal.pidfd_send_signal(handle, number)
                return True
            except ProcessLookupError:
                return False
            except OSError:
                pass  # either a filter refused this call or the process may not be signalled: os.kill shows which
        os.kill(pid, number)
        return True
    return False
