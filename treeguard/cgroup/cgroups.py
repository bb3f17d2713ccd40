"""The cgroup of a manager, and its leaves: found, made, swept and removed.

Only cgroup version 2 serves (cgroups(7)); in a hybrid layout that is the hierarchy without controllers.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import time
from functools import partial
from pathlib import Path

from ..descriptors import above_standard
from ..limits import Limits
from ..processes.procfs import find, kill_if
from .cgroupfs import write
from .controllers import PLACE, limit, step_back, turn_on, turn_on_below_own

__all__ = ["ManagerCgroup", "own_cgroup"]

_NAME = re.compile(r"treeguard\.(\d+)\.(\d+)\.(\d+)\.[0-9a-f]+")
#: How long, in seconds, what is left by a dead owner is waited for.
_SWEEP_PATIENCE = 1.0
_PAUSE = 0.001
#: Kills all in a cgroup at once (cgroups(7), Linux 5.14).
_KILL = "cgroup.kill"


def own_cgroup(proc: Path = Path("/proc")) -> Path:
    """The directory of this process's own cgroup; of the one above, if it or its parent stepped aside from that.

    Raises FileNotFoundError with the reason where there is none.
    """
    if not (proc / "self").exists():
        raise FileNotFoundError(errno.ENOENT, "cgroups are shown in Linux's /proc, which there is not")
    lines = (proc / "self/cgroup").read_text("utf-8", "surrogateescape").splitlines()
    member = next((line.removeprefix("0::") for line in lines if line.startswith("0::")), None)
    if member is None:
        raise FileNotFoundError(errno.ENOENT, "this kernel has no cgroup version 2")
    if member.startswith("/.."):
        raise FileNotFoundError(errno.ENOENT, "this process's cgroup is outside its cgroup namespace", member)
    for root, mount in _mounts(proc):
        if member == root or member.startswith(root.rstrip("/") + "/"):
            own = Path(mount, member[len(root.rstrip("/")) :].lstrip("/"))
            return own.parent if own.name.startswith(PLACE) else own
    raise FileNotFoundError(errno.ENOENT, "no mount of cgroup version 2 shows this process's cgroup", member)


def _mounts(proc: Path) -> list[tuple[str, str]]:
    """What is mounted where: the root within the hierarchy, and the mount point (proc(5), mountinfo)."""
    mounts = []
    for line in (proc / "self/mountinfo").read_text("utf-8", "surrogateescape").splitlines():
        fields, _, kind = line.partition(" - ")
        if kind.startswith("cgroup2 "):
            root, mount = fields.split()[3:5]
            mounts.append((_unescaped(root), _unescaped(mount)))
    return mounts


def _unescaped(path: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), path)


class ManagerCgroup:
    """A cgroup below this process's own, in which each tree gets a leaf named by its tag."""

    def __init__(self, parent: Path | None = None) -> None:
        """Makes it, after what dead owners left has been swept. Raises OSError where that may not be done."""
        self._own = parent = own_cgroup() if parent is None else parent
        sweep(parent)
        owner = find(os.getpid())
        if owner is None:
            raise FileNotFoundError(errno.ENOENT, "/proc does not show this process")
        self.path = parent / f"treeguard.{_namespace()}.{owner.pid}.{owner.started}.{os.urandom(4).hex()}"
        try:
            self.path.mkdir()
        except OSError as error:
            raise OSError(error.errno, f"{error.strerror}: no cgroup can be made below {parent}") from None
        try:
            self.fd = above_standard(os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        except OSError:
            self.path.rmdir()
            raise

    def leaf(self, tag: int) -> Path:
        """The directory of a tree's leaf; the guard makes and removes it."""
        return self.path / str(tag)

    @property
    def killed_at_once(self) -> bool:
        """Whether this kernel kills a cgroup in one step, and does not need it frozen first."""
        return (self.path / _KILL).exists()

    def controllers(self) -> frozenset[str]:
        """Turns on those that keep limits. Returns which of them leaves have."""
        return turn_on(self.path) if turn_on_below_own(self._own) else frozenset()

    def limited_leaf(self, tag: int, limits: Limits) -> None:
        """Makes a leaf with limits before its guard does. Raises OSError where a controller is missing."""
        self.controllers()
        leaf = self.leaf(tag)
        leaf.mkdir()
        try:
            limit(leaf, limits)
        except OSError:
            leaf.rmdir()
            raise

    def discard(self, tag: int) -> None:
        """Removes a leaf whose guard never came to it."""
        with contextlib.suppress(OSError):
            self.leaf(tag).rmdir()

    def close(self) -> None:
        """Removes it. What its guards have not emptied yet stays theirs to remove."""
        try:
            self.path.rmdir()
            step_back(self._own)
        except OSError:
            pass
        finally:
            os.close(self.fd)


def empty(cgroup: Path) -> bool:
    """Kills what is in a cgroup and removes it; whether it is gone. To be called again as long as it isn't."""
    try:
        _kill(cgroup)
        # Deepest first: a supervisor within the tree may have made some below.
        for directory, _, _ in os.walk(cgroup, topdown=False):
            Path(directory).rmdir()
    except FileNotFoundError:
        return not cgroup.exists()
    except OSError:
        return False
    return True


def _kill(cgroup: Path) -> None:
    try:
        write(cgroup / _KILL, "1")
    except FileNotFoundError:
        _kill_frozen(cgroup)


def _kill_frozen(cgroup: Path) -> None:
    """Before ``cgroup.kill`` (Linux 5.14): what is frozen cannot fork, and its numbers stay whose they are.

    SIGKILL reaches the frozen (5.2). As long as somebody does not stand still, nobody is let go on, so that the next
    call finds no newcomers.
    """
    write(cgroup / "cgroup.freeze", "1")
    frozen = "frozen 1" in (cgroup / "cgroup.events").read_text("ascii")
    for directory, _, _ in os.walk(cgroup):
        for pid in _listed(directory):
            kill_if(pid, partial(_lives_in, directory, pid, frozen))
    if frozen:
        write(cgroup / "cgroup.freeze", "0")


def _lives_in(cgroup: str, pid: int, frozen: bool) -> bool:
    return frozen or pid in _listed(cgroup)


def _listed(cgroup: str) -> list[int]:
    """The processes in a cgroup. One that this namespace has no number for is shown as 0, and cannot be signalled."""
    return [int(word) for word in Path(cgroup, "cgroup.procs").read_text("ascii").split() if word != "0"]


def sweep(parent: Path) -> None:
    """Ends and removes what managers left in ``parent`` that were killed together with their guards.

    An owner is known by process id *and* start time, in the process id namespace that it had; those of other namespaces
    cannot be judged from here and are left alone.
    """
    deadline = time.monotonic() + _SWEEP_PATIENCE
    for entry in os.scandir(parent):
        if entry.name.startswith(PLACE) and not _lives(int(entry.name.removeprefix(PLACE))):
            # Where a dead supervisor had stepped aside to; what it started itself may live on there, and is not ours.
            with contextlib.suppress(OSError):
                Path(entry).rmdir()
        match = _NAME.fullmatch(entry.name)
        if match is None or int(match[1]) != _namespace() or _lives(int(match[2]), int(match[3])):
            continue
        # The guards of an owner that died just now are at work here too.
        while not empty(parent / entry.name) and time.monotonic() < deadline:
            time.sleep(_PAUSE)


def _namespace() -> int:
    return os.stat("/proc/self/ns/pid").st_ino  # noqa: PTH116 - one call


def _lives(pid: int, started: int | None = None) -> bool:
    """Whether a process lives that started then. One that could not be looked at does, as far as can be told."""
    try:
        seen = find(pid)
    except OSError:
        return True
    return seen is not None and (started is None or (seen.alive and seen.started == started))
