"""Facts about this host that a process tree's keeper depends on, found out by trying rather than by version numbers."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import platform
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import msgspec

from .. import _native

__all__ = ["Cgroup", "Guard", "Host", "Limit", "Limits", "inspect"]

#: The same on all architectures of Linux that are younger than 2019's unified numbering, and on those before.
_SYS_CLONE3 = 435
_SYS_CLOSE_RANGE = 436
_PR_GET_CHILD_SUBREAPER = 37
_HIGHEST_FD = 0xFFFFFFFF
#: The inode of the first process id namespace, a constant of the kernel (PROC_PID_INIT_INO).
_FIRST_PID_NAMESPACE = 0xEFFFFFFC


class Cgroup(msgspec.Struct, frozen=True):
    """Where this process is in the cgroup hierarchy. ``layout``: ``v2``, ``hybrid``, ``v1`` or ``none``."""

    layout: str
    directory: str | None = None
    writable: bool = False
    has_kill: bool = False


class Limit(msgspec.Struct, frozen=True):
    """A resource limit; None: unlimited."""

    soft: int | None
    hard: int | None


class Limits(msgspec.Struct, frozen=True):
    """How many files and processes there may be."""

    open_files: Limit
    processes: Limit
    pid_max: int | None


class Guard(msgspec.Struct, frozen=True):
    """The guard's executable."""

    path: str
    size: int | None
    executable: bool


class Host(msgspec.Struct, frozen=True):
    """What there is to build on. ``calls``: system calls, by name: None if it works, else why it doesn't."""

    system: str
    kernel: str
    machine: str
    python: str
    uid: int
    container: str | None
    calls: dict[str, str | None]
    cgroup: Cgroup
    limits: Limits
    guard: Guard


def inspect() -> Host:
    """Looks around."""
    return Host(
        system=platform.system(),
        kernel=platform.release(),
        machine=platform.machine(),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        uid=os.geteuid(),
        container=_container(),
        calls={name: _reason(attempt) for name, attempt in _ATTEMPTS.items()},
        cgroup=_cgroup(),
        limits=Limits(_limit(resource.RLIMIT_NOFILE), _limit(resource.RLIMIT_NPROC), _pid_max()),
        guard=_guard(),
    )


def _reason(attempt: Callable[[], None]) -> str | None:
    try:
        attempt()
    except OSError as e:
        return errno.errorcode.get(e.errno or 0, str(e))
    except AttributeError:
        return "not known to this Python"
    return None


def _call(number: int, *arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(ctypes.c_long(number), *map(ctypes.c_ulong, arguments)) < 0:
        raise OSError(ctypes.get_errno(), "")


def _clone3() -> None:
    try:
        # Arguments of no size are refused before anything is made of them.
        _call(_SYS_CLONE3, 0, 0)
    except OSError as e:
        if e.errno != errno.EINVAL:
            raise


def _close_range() -> None:
    # A descriptor of that number cannot exist, so nothing is closed.
    _call(_SYS_CLOSE_RANGE, _HIGHEST_FD, _HIGHEST_FD, 0)


@contextlib.contextmanager
def _own_pidfd() -> contextlib._GeneratorContextManager[int]:  # type: ignore[misc]
    fd = os.pidfd_open(os.getpid())
    try:
        yield fd
    finally:
        os.close(fd)
