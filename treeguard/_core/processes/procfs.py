"""Processes as ``/proc`` shows them: for looking at, and for signalling by handle what was looked at."""

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

from .. import native as _native
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
#: In which a thread does nothing: what another one does tells more, and what is named last here tells least.
_STILL = _STOPPED + _DEAD
_CHUNK = 32768


class ProcessInfo(NamedTuple):
    """A process, as it was seen. Its number and its start, in clock ticks after boot, are its identity.

    Its state is that of its main thread; but if that has ended or stands still, the state of the thread that does most.
    """

    pid: int
    name: str
    state: str
    parent: int
    group: int
    session: int
    started: int
    #: Page faults of the children that it has waited for, which only grow; where that is known.
    reaped: int = 0

    @property
    def alive(self) -> bool:
        """Whether it has not ended; one that has may still wait to be reaped."""
        return self.state not in _DEAD

    @property
    def stopped(self) -> bool:
        """Whether it stands still, by a signal or a tracer."""
        return self.state in _STOPPED


class CpuTimes(NamedTuple):
    """What a process used: seconds, of itself and of the children that it has waited for; bytes, of itself."""

    user: float
    system: float
    reaped_user: float
    reaped_system: float
    memory: int
    peak_memory: int


@functools.cache
def tick() -> float:
    """Seconds in a clock tick, the unit of :attr:`Seen.started`."""
    return 1 / os.sysconf("SC_CLK_TCK")


def now() -> float:
    """The time in seconds, on the clock of :attr:`Seen.started`."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def get_process(pid: int) -> ProcessInfo | None:
    """The process of that number, dead but unreaped ones included."""
    try:
        return _seen(pid, *_stat(pid))
    except OSError:
        return None


def find(pid: int) -> ProcessInfo | None:
    """The same, but None says for sure that there is none: it raises OSError where that could not be found out."""
    try:
        return _seen(pid, *_stat(pid))
    except (FileNotFoundError, ProcessLookupError):
        # /proc may hide a process of another user (hidepid); this raises PermissionError then.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 0)
            raise
        return None


def _seen(pid: int, name: str, fields: list[str]) -> ProcessInfo:
    return ProcessInfo(pid, name, _state(pid, fields), int(fields[1]), int(fields[2]), int(fields[3]), int(fields[19]))


def _state(pid: int, fields: list[str]) -> str:
    """A main thread that has ended (pthread_exit(3)) is shown as a zombie for as long as another thread lives.

    Threads that have ended count in num_threads until a tracer has waited for them, so the number alone tells nothing.
    """
    state = fields[0]
    if state in _STILL and int(fields[17]) > 1:
        return min((state, *_threads(pid).values()), key=_STILL.find)
    return state


def _threads(pid: int) -> dict[int, str]:
    """The threads of a process, and their states; nothing of one that was not to be seen."""
    found = {}
    for thread in threads_of(pid):
        with contextlib.suppress(OSError):
            found[thread] = _stat(f"{pid}/task/{thread}")[1][0]
    return found


def threads_of(pid: int) -> set[int]:
    """The numbers of a process's threads; none if it is gone."""
    try:
        return {int(thread) for thread in os.listdir(f"/proc/{pid}/task")}  # noqa: PTH208 - numbers, not paths
    except OSError:
        return set()


def process_of(thread: int) -> int:
    """The number of a thread's process; the thread's own where that is not to be seen."""
    try:
        status = _read(thread, "status")
    except OSError:
        return thread
    # The name, which may hold anything but an end of line, comes before.
    return int(status.partition(b"\nTgid:")[2].split(maxsplit=1)[0])


def spent(pid: int) -> CpuTimes | None:
    """What the process of that number has used; None if there is none that lives."""
    try:
        _, fields = _stat(pid)
        if _state(pid, fields) in _DEAD:
            return None
        # The main thread has no memory any more to tell of when it has ended.
        living = (f"{pid}/task/{thread}" for thread, state in _threads(pid).items() if state not in _DEAD)
        where = next(living, pid) if fields[0] in _DEAD else pid
        status = _read(where, "status").decode("utf-8", "replace")
    except OSError:
        return None
    user, system, reaped_user, reaped_system = (int(ticks) * tick() for ticks in fields[11:15])
    return CpuTimes(user, system, reaped_user, reaped_system, _kib(status, "VmRSS"), _kib(status, "VmHWM"))


def _stat(pid: int | str) -> tuple[str, list[str]]:
    # proc(5): the name may hold anything, so fields are counted from its last parenthesis.
    text = _read(pid, "stat").decode("utf-8", "replace")
    name, _, rest = text.partition("(")[2].rpartition(")")
    return name, rest.split()


@functools.cache
def _check_numbers(own: int) -> None:
    """Raises FileNotFoundError where ``/proc`` is of another pid namespace: its numbers are other processes here."""
    if os.readlink("/proc/self") != str(own):  # noqa: PTH115 - a number, not a path
        raise FileNotFoundError(errno.ENOENT, "/proc shows the processes of another pid namespace")


def _read(pid: int | str, name: str) -> bytes:
    """A file of a process, or of a thread (``PID/task/THREAD``). Raises OSError.

    Thousands are looked at: without what objects would add.
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
    """Bytes. A process that is ending has no memory any more, nor a line that tells of it."""
    _, _, rest = status.partition(f"\n{name}:")
    return int(rest.split(maxsplit=1)[0]) * 1024 if rest else 0


def environment(pid: int) -> bytes:
    """What a process that lives began with: strings, each after a NUL. Nothing where that is not to be seen."""
    # The main thread has none any more when it has ended, though others live.
    return b"\0" + (
        _environ(pid) or next(filter(None, (_environ(f"{pid}/task/{thread}") for thread in _threads(pid))), b"")
    )


def _environ(where: int | str) -> bytes:
    try:
        return _read(where, "environ")
    except OSError:
        return b""


def snapshot() -> list[ProcessInfo | None]:
    """All processes at a moment, without their names. None stands for one that was gone when it was looked at.

    By the C core: thousands are looked at in tens of milliseconds, and other threads run meanwhile. Raises OSError.
    """
    return [None if row.state == "\0" else _seen_in(row) for row in _native.processes()]


def _seen_in(row: _native.Row) -> ProcessInfo:
    return ProcessInfo(row.pid, "", row.state, row.parent, row.group, row.session, row.started, row.reaped)


def iter_pids() -> Iterator[int]:
    """The numbers of all processes. Raises FileNotFoundError where ``/proc`` does not show them."""
    _check_numbers(os.getpid())
    return (int(entry) for entry in os.listdir(_PROC) if entry.isdecimal())  # noqa: PTH208 - numbers, not paths


def kill_if(pid: int, meant: Callable[[], bool]) -> bool:
    """Kills the process of that number if it is the one that is ``meant``; whether it was, and could be.

    One that a freezer holds is let go, since it would not die before.
    """
    killed = signal_if(pid, signal.SIGKILL, meant)
    # The frozen are shown as if they waited for a disk.
    if killed and (seen := get_process(pid)) is not None and seen.state == "D":
        release(pid)
    return killed


def signal_if(pid: int, number: int, meant: Callable[[], bool]) -> bool:
    """Signals the process of that number if it is the one that is ``meant``; whether it was, and could be.

    It is looked at with its handle in hand: what was looked at is what is signalled, whoever gets the number later.
    Where there are no handles (before Linux 5.3, or forbidden by a filter) only the moment between look and signal is
    not safe.
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
                pass  # a filter's answer, or a process that may not be signalled: the other call tells which
        os.kill(pid, number)
        return True
    return False
