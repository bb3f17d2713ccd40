"""What ``/proc`` shows of one process besides its state: what it has used, and its environment."""

from __future__ import annotations

from typing import NamedTuple

from .process import DEAD, state_of, thread_states, tick
from .procfs import read_file, stat_of

__all__ = ["CpuTimes", "environment", "read_start", "spent"]


class CpuTimes(NamedTuple):
    """The usage of a process: seconds, for itself and the children that it has waited for; bytes, for itself."""

    user: float
    system: float
    reaped_user: float
    reaped_system: float
    memory: int
    peak_memory: int


def spent(pid: int) -> CpuTimes | None:
    """What the process of that number has used; None if no such process is alive."""
    try:
        _, fields = stat_of(pid)
        if state_of(pid, fields) in DEAD:
            return None
        # Once the main thread has ended, its status no longer shows any memory.
        living = (f"{pid}/task/{thread}" for thread, state in thread_states(pid).items() if state not in DEAD)
        where = next(living, pid) if fields[0] in DEAD else pid
        status = read_file(where, "status").decode("utf-8", "replace")
    except OSError:
        return None
    user, system, reaped_user, reaped_system = (int(ticks) * tick() for ticks in fields[11:15])
    return CpuTimes(user, system, reaped_user, reaped_system, _kib(status, "VmRSS"), _kib(status, "VmHWM"))


def _kib(status: str, name: str) -> int:
    """A value in bytes. A process that is ending has no memory left, and no such line in its status."""
    _, _, rest = status.partition(f"\n{name}:")
    return int(rest.split(maxsplit=1)[0]) * 1024 if rest else 0


def read_start(pid: int, name: str, most: int) -> bytes:
    """The first ``most`` bytes of a file of a process. Raises OSError.

    A command line, for example, may have megabytes.
    """
    with open(f"/proc/{pid}/{name}", "rb", buffering=0) as file:  # noqa: PTH123 - quick
        return file.read(most)


def environment(pid: int) -> bytes:
    """The environment that a live process began with: strings, each after a NUL; only a NUL if it cannot be read."""
    # A main thread that has ended has no environment any more, even if other threads live.
    return b"\0" + (
        _environ(pid) or next(filter(None, (_environ(f"{pid}/task/{thread}") for thread in thread_states(pid))), b"")
    )


def _environ(where: int | str) -> bytes:
    try:
        return read_file(where, "environ")
    except OSError:
        return b""
