"""One process as ``/proc`` shows it, and its threads."""

from __future__ import annotations

import contextlib
import functools
import os
import time
from typing import NamedTuple

from .procfs import STARTED, read_file, stat_of

__all__ = [
    "DEAD",
    "ProcessInfo",
    "find",
    "get_process",
    "now",
    "process_of",
    "state_of",
    "thread_states",
    "threads_of",
    "tick",
]

#: The states of a process that has ended.
DEAD = "ZX"
_STOPPED = "Tt"
#: The states in which a thread does nothing, the least informative last. The state of another thread tells more.
_STILL = _STOPPED + DEAD


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
        return self.state not in DEAD

    @property
    def stopped(self) -> bool:
        """Whether a signal or a tracer has stopped it."""
        return self.state in _STOPPED


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
        return _seen(pid, *stat_of(pid))
    except TimeoutError:  # of a signal's handler
        raise
    except OSError:
        return None


def find(pid: int) -> ProcessInfo | None:
    """The process of that number; None if there is certainly none. Raises OSError if that cannot be determined."""
    try:
        return _seen(pid, *stat_of(pid))
    except (FileNotFoundError, ProcessLookupError):
        # /proc may hide a process of another user (hidepid). os.kill raises PermissionError then.
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        raise


def _seen(pid: int, name: str, fields: list[str]) -> ProcessInfo:
    parent, group, session, started = (int(fields[i]) for i in (1, 2, 3, STARTED))
    return ProcessInfo(pid, name, state_of(pid, fields), parent, group, session, started)


def state_of(pid: int, fields: list[str]) -> str:
    """The state of a process. A main thread that has ended (pthread_exit(3)) is a zombie while other threads live.

    Ended threads count in num_threads until a tracer has waited for them, so that number alone says nothing.
    """
    state = fields[0]
    if state in _STILL and int(fields[17]) > 1:
        return min((state, *thread_states(pid).values()), key=_STILL.find)
    return state


def thread_states(pid: int) -> dict[int, str]:
    """The threads of a process with their states; empty if the process cannot be seen."""
    found = {}
    for thread in threads_of(pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):  # no TimeoutError
            found[thread] = stat_of(f"{pid}/task/{thread}")[1][0]
    return found


def threads_of(pid: int) -> set[int]:
    """The numbers of a process's threads; empty if it is gone."""
    try:
        return {int(thread) for thread in os.listdir(f"/proc/{pid}/task")}  # noqa: PTH208 - numbers, not paths
    except TimeoutError:  # of a signal's handler
        raise
    except OSError:
        return set()


def process_of(thread: int) -> int:
    """The number of a thread's process; the thread's own number if that cannot be seen."""
    try:
        status = read_file(thread, "status")
    except TimeoutError:
        raise
    except OSError:
        return thread
    # The name comes before it, and may contain anything but an end of line.
    return int(status.partition(b"\nTgid:")[2].split(maxsplit=1)[0])
