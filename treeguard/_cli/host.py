"""Facts about this host that treeguard depends on, found by trying rather than by version numbers."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import platform
import resource
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from .._core import native

__all__ = ["Cgroup", "Guard", "Host", "Limit", "Limits", "facts", "inspect"]

#: The same number on every architecture of treeguard's C core, as for all system calls since Linux 5.1.
_SYS_CLONE3 = 435
_SYS_CLOSE_RANGE = 436
_PR_SET_CHILD_SUBREAPER = 36
_PR_GET_CHILD_SUBREAPER = 37
_HIGHEST_FD = 0xFFFFFFFF
#: The inode of the first pid namespace, a constant of the kernel (PROC_PID_INIT_INO).
_FIRST_PID_NAMESPACE = 0xEFFFFFFC


class Cgroup(msgspec.Struct, frozen=True):
    """The position of this process in the cgroup hierarchy. ``layout``: ``v2``, ``hybrid``, ``v1`` or ``none``."""

    layout: str
    directory: str | None = None
    writable: bool = False
    has_kill: bool = False


class Limit(msgspec.Struct, frozen=True):
    """A resource limit; None means unlimited."""

    soft: int | None
    hard: int | None


class Limits(msgspec.Struct, frozen=True):
    """The limits on open files and processes."""

    open_files: Limit
    processes: Limit
    pid_max: int | None


class Guard(msgspec.Struct, frozen=True):
    """The guard's executable."""

    path: str
    size: int | None
    executable: bool


class Host(msgspec.Struct, frozen=True):
    """The facts about this host. ``calls`` maps each system call to None if it works, otherwise to the reason."""

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
    """Collects the facts."""
    return Host(
        system=platform.system(),
        kernel=platform.release(),
        machine=platform.machine(),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        uid=os.geteuid(),
        container=_container(),
        # On other systems these numbers mean other calls.
        calls={n: _reason(attempt) for n, attempt in _ATTEMPTS.items()} if platform.system() == "Linux" else {},
        cgroup=_cgroup(),
        limits=Limits(_limit(resource.RLIMIT_NOFILE), _limit(resource.RLIMIT_NPROC), _pid_max()),
        guard=_guard(),
    )


def facts(here: Host) -> list[tuple[str, str]]:
    """The facts for people, each with a title of a word or two."""
    missing = [f"{name} ({reason})" for name, reason in here.calls.items() if reason]
    working = [name for name, reason in here.calls.items() if reason is None]
    group = here.cgroup
    details = [group.layout, group.directory, "writable" if group.writable else "not writable"]
    size = "missing" if here.guard.size is None else f"{here.guard.size / 1024:.1f} KiB"
    return [
        ("user", f"{'root' if here.uid == 0 else f'uid {here.uid}'}, container: {here.container or 'none'}"),
        ("system calls", ", ".join(working) or "none"),
        *([("  missing", ", ".join(missing))] if missing else []),
        ("cgroup", ", ".join(filter(None, details if group.directory else details[:1]))),
        ("open files", _range(here.limits.open_files)),
        ("processes", f"{_range(here.limits.processes)}, pid_max {here.limits.pid_max or 'unknown'}"),
        ("guard", f"{here.guard.path}, {size}{'' if here.guard.executable else ', not executable'}"),
    ]


def _range(limit: Limit) -> str:
    soft, hard = ("unlimited" if value is None else str(value) for value in (limit.soft, limit.hard))
    return soft if soft == hard else f"{soft} of {hard}"


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
        # The kernel refuses arguments of size 0 before it acts on them.
        _call(_SYS_CLONE3, 0, 0)
    except OSError as e:
        if e.errno != errno.EINVAL:
            raise


def _close_range() -> None:
    # A descriptor of that number cannot exist, so nothing is closed.
    _call(_SYS_CLOSE_RANGE, _HIGHEST_FD, _HIGHEST_FD, 0)


@contextlib.contextmanager
def _own_pidfd() -> Iterator[int]:
    fd = os.pidfd_open(os.getpid())
    try:
        yield fd
    finally:
        os.close(fd)


def _pidfd_open() -> None:
    with _own_pidfd():
        pass


def _pidfd_send_signal() -> None:
    with _own_pidfd() as fd:
        signal.pidfd_send_signal(fd, 0)


def _waitid_pidfd() -> None:
    with _own_pidfd() as fd, contextlib.suppress(ChildProcessError):
        os.waitid(os.P_PIDFD, fd, os.WEXITED | os.WNOHANG)


def _child_subreaper() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    now = ctypes.c_int()
    # A filter may allow reading the setting and forbid changing it. So it is set to its own value.
    if (
        libc.prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(now), 0, 0, 0) < 0
        or libc.prctl(_PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(now.value), 0, 0, 0) < 0
    ):
        raise OSError(ctypes.get_errno(), "")


_ATTEMPTS: dict[str, Callable[[], None]] = {
    "clone3": _clone3,
    "close_range": _close_range,
    "pidfd_open": _pidfd_open,
    "pidfd_send_signal": _pidfd_send_signal,
    "waitid_pidfd": _waitid_pidfd,
    "child_subreaper": _child_subreaper,
}


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _container() -> str | None:
    """The container that this process runs in, as far as it can tell from inside."""
    if Path("/.dockerenv").exists():
        return "docker"
    if Path("/run/.containerenv").exists():
        return "podman"
    named = _text("/run/systemd/container").strip() or os.environ.get("container")  # noqa: SIM112 - its real spelling
    if named:
        return named
    with contextlib.suppress(OSError):
        if Path("/proc/self/ns/pid").stat().st_ino != _FIRST_PID_NAMESPACE:
            return "pid namespace"
    return None


def _cgroup() -> Cgroup:
    mounts = [_mount(line) for line in _text("/proc/self/mountinfo").splitlines()]
    second = next((mount for mount in mounts if mount[0] == "cgroup2"), None)
    first = any(kind == "cgroup" for kind, _, _ in mounts)
    if second is None:
        return Cgroup("v1" if first else "none")
    layout = "hybrid" if first else "v2"
    _, root, place = second
    own = next((line[3:] for line in _text("/proc/self/cgroup").splitlines() if line.startswith("0::")), None)
    if own is None or ".." in Path(own).parts:
        return Cgroup(layout)
    # A mount may show only a part of the hierarchy.
    directory = Path(place, os.path.relpath(own, root))
    writable = os.access(directory, os.W_OK) and os.access(directory / "cgroup.procs", os.W_OK)
    return Cgroup(layout, str(directory), writable, (directory / "cgroup.kill").exists())


def _mount(line: str) -> tuple[str, str, str]:
    """The type, the root within the file system, and the mount point of a mount; see proc_pid_mountinfo(5)."""
    left, _, right = line.partition(" - ")
    fields = left.split(" ")
    return right.split(" ")[0], fields[3], fields[4]


def _limit(which: int) -> Limit:
    soft, hard = (None if value == resource.RLIM_INFINITY else value for value in resource.getrlimit(which))
    return Limit(soft, hard)


def _pid_max() -> int | None:
    text = _text("/proc/sys/kernel/pid_max").strip()
    return int(text) if text.isdecimal() else None


def _guard() -> Guard:
    path = Path(native.GUARD)
    try:
        return Guard(str(path), path.stat().st_size, os.access(path, os.X_OK))
    except OSError:
        return Guard(str(path), None, False)
