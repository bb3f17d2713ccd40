"""The numbers that processes have in PID namespaces, from ``/proc``."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterable
from pathlib import Path

from .procfs import read_file, stat_of

__all__ = [
    "inits_are_told",
    "inner_number",
    "is_ending",
    "is_init",
    "is_inside",
    "namespace_below",
    "namespace_of",
    "outer_number",
    "pid_of",
]

#: The place of a process's flags among the fields after its name, and the flag of one that is ending (PF_EXITING).
_FLAGS = 6
_EXITING = 4
#: ioctl_ns(2). The second is of Linux 6.11.
_GET_PARENT = 0xB702
_GET_TGID_FROM_PIDNS = 0x8004B707


def inner_number(pid: int) -> int:
    """The number of a process in the PID namespace below this one's; 0 if it is in none, or has ended."""
    numbers, depth = _numbers(pid), _depth(os.getpid())
    return numbers[depth] if len(numbers) > depth else 0


def outer_number(members: Iterable[int], number: int) -> int:
    """Which of these processes has that number in the PID namespace below this one's; 0 if none has."""
    return next((pid for pid in members if inner_number(pid) == number), 0)


def is_init(pid: int) -> bool:
    """Whether a process is the init of a PID namespace right below this one's."""
    numbers = _numbers(pid)
    return len(numbers) == _depth(os.getpid()) + 1 and numbers[-1] == 1


def is_ending(pid: int) -> bool:
    """Whether the only thread of a process is ending. It may wait for others to be reaped first."""
    try:
        return bool(int(stat_of(pid)[1][_FLAGS]) & _EXITING)
    except OSError:
        return True


def pid_of(pidfd: int) -> int:
    """The process id that a handle stands for; -1 if the process has been reaped."""
    text = Path(f"/proc/self/fdinfo/{pidfd}").read_text("ascii")
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("Pid:")), -1)


def namespace_of(pid: int) -> int | None:
    """The number of a process's PID namespace, which no other has as long as that process is there; None if unknown."""
    try:
        return os.stat(f"/proc/{pid}/ns/pid").st_ino  # noqa: PTH116 - called for each process
    except OSError:
        return None


def namespace_below(pids: Iterable[int]) -> int | None:
    """The PID namespace right below this one's that these processes are in, or in one within it; None if unknown.

    An init shows its namespace to root alone as long as it lives, and the others show it to their user.
    """
    depth = _depth(os.getpid())
    direct = (namespace_of(pid) for pid in pids if len(_numbers(pid)) == depth + 1)
    return next((namespace for namespace in direct if namespace is not None), None)


def is_inside(pid: int, namespace: int | None, init: int = 0) -> bool:
    """Whether a process is in a PID namespace, or in one within it. Not if that must not be known: it is another's.

    A namespace whose number is unknown is known by its ``init``, from Linux 6.11 on.
    """
    if not inner_number(pid):
        return False
    import fcntl  # not to be had on Windows, where no process has an inner number

    try:
        handle = os.open(f"/proc/{pid}/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        while os.fstat(handle).st_ino != namespace if namespace else _init_in(handle) != init:
            above = fcntl.ioctl(handle, _GET_PARENT)
            os.close(handle)
            handle = above
    except OSError:  # those above are out of reach
        return False
    finally:
        os.close(handle)
    return True


def inits_are_told() -> bool:
    """Whether the kernel tells whose namespace one is, so that :func:`is_inside` needs no more than an init."""
    with contextlib.suppress(OSError), open("/proc/self/ns/pid", "rb") as own:  # noqa: PTH123 - quick
        return _init_in(own.fileno()) == 1
    return False


def _init_in(handle: int) -> int:
    """The number that the init of a PID namespace has here; 0 if the kernel cannot tell it."""
    import fcntl

    with contextlib.suppress(OSError):
        return fcntl.ioctl(handle, _GET_TGID_FROM_PIDNS, 1)
    return 0


def _numbers(pid: int) -> list[int]:
    """The numbers of a process, from this PID namespace inwards; empty if it cannot be seen."""
    try:
        text = read_file(pid, "status")
    except OSError:
        return []
    _, _, rest = text.partition(b"\nNSpid:")
    return [int(number) for number in rest.partition(b"\n")[0].split()]


@functools.cache
def _depth(own: int) -> int:
    """How many numbers of a process this PID namespace and those around it show."""
    return len(_numbers(own)) or 1
