"""The cgroup of a manager and its leaves: finding, making, sweeping and removing them.

Only cgroup version 2 is supported (cgroups(7)). In a hybrid layout that is the hierarchy without controllers.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import threading
import time
from pathlib import Path

from ...limits import Limits
from ..native import Descriptor
from ..processes.mounts import cgroup_mounts
from ..processes.procfs import find
from .below import kill_listed, remove
from .cgroupfs import write
from .controllers import PLACE, limit, owner_of_place, step_back, turn_on, turn_on_below_own
from .mending import mend, what_is_wrong

__all__ = ["ManagerCgroup", "empty", "own_cgroup", "stay_out", "unlock"]

#: The name of a manager's cgroup: its owner's pid namespace, process id and start time. Any process may use such a
#: name.
_NAME = re.compile(r"treeguard\.([0-9]{1,20})\.([0-9]{1,7})\.([0-9]{1,20})\.[0-9a-f]+")
#: How many seconds the sweeper thread keeps trying to remove the remains of dead owners. No caller waits for it.
_SWEEP_PATIENCE = 1.0
_PAUSE = 0.005
#: Kills every process in a cgroup at once (cgroups(7), Linux 5.14).
_KILL = "cgroup.kill"


def own_cgroup(proc: Path = Path("/proc")) -> Path:
    """The directory of this process's own cgroup, or its parent if this is a cgroup that a supervisor stepped aside to.

    The supervisor may be this process or its parent. Raises FileNotFoundError with the reason if there is no cgroup.
    """
    if not (proc / "self").exists():
        raise FileNotFoundError(errno.ENOENT, "cgroups are shown in Linux's /proc, which there is not")
    lines = (proc / "self/cgroup").read_text("utf-8", "surrogateescape").splitlines()
    member = next((line.removeprefix("0::") for line in lines if line.startswith("0::")), None)
    if member is None:
        raise FileNotFoundError(errno.ENOENT, "this kernel has no cgroup version 2")
    if member.startswith("/.."):
        raise FileNotFoundError(errno.ENOENT, "this process's cgroup is outside its cgroup namespace", member)
    for mount in cgroup_mounts(proc=proc):
        own = mount.directory(member)
        if own is not None:
            return own.parent if owner_of_place(own.name) is not None else own
    raise FileNotFoundError(errno.ENOENT, "no mount of cgroup version 2 shows this process's cgroup", member)


class ManagerCgroup:
    """A cgroup below this process's own, in which each tree gets a leaf named by its tag."""

    def __init__(self, parent: Path | None = None) -> None:
        """Makes the cgroup, and starts a sweep of what dead owners left. Raises OSError if it cannot be made."""
        #: This process's own cgroup.
        self.own = own_cgroup() if parent is None else parent
        begin_sweep(self.own)
        self.path, self._directory = self._made()

    @property
    def fd(self) -> int:
        """The descriptor of the cgroup's directory."""
        return self._directory.number

    def _made(self) -> tuple[Path, Descriptor]:
        owner = find(os.getpid())
        if owner is None:
            raise FileNotFoundError(errno.ENOENT, "/proc does not show this process")
        path = self.own / f"treeguard.{_namespace()}.{owner.pid}.{owner.started}.{os.urandom(4).hex()}"
        try:
            path.mkdir()
        except OSError as error:
            words = what_is_wrong(path) or f"no cgroup can be made below {self.own}"
            raise OSError(error.errno, f"{error.strerror}: {words}") from None
        try:
            directory = Descriptor()
            directory.open(path, os.O_RDONLY | os.O_DIRECTORY)
            return path, directory
        except BaseException:
            path.rmdir()
            raise

    def leaf(self, tag: int) -> Path:
        """The directory of a tree's leaf. The guard makes and removes it."""
        return self.path / str(tag)

    @property
    def killed_at_once(self) -> bool:
        """Whether this kernel kills a cgroup in one step, without freezing it first."""
        return (self.path / _KILL).exists()

    def controllers(self) -> frozenset[str]:
        """Turns on the controllers that keep limits. Returns those that leaves have."""
        return turn_on(self.path) if turn_on_below_own(self.own) else frozenset()

    def limited_leaf(self, tag: int, limits: Limits) -> None:
        """Makes a leaf with limits, before its guard would make it. Raises OSError if a controller is missing."""
        self.controllers()
        leaf = self.leaf(tag)
        try:
            leaf.mkdir()
        except OSError:
            mend(self.path)
            self.discard(tag)
            leaf.mkdir()
        try:
            limit(leaf, limits)
        except OSError:
            leaf.rmdir()
            raise

    def why_not(self, error: int) -> str:
        """The reason why a tree could not be put into a leaf, with the file that shows it; empty if none is visible.

        Another process that may write here may have removed the manager's cgroup, or made it threaded, which cannot be
        undone. No process lives in the cgroup then, so this makes another one for the trees that follow.
        """
        words = what_is_wrong(self.path)
        if not self.path.exists() or error == errno.EOPNOTSUPP:
            with contextlib.suppress(OSError):
                path, directory = self._made()
                with contextlib.suppress(OSError):
                    self.path.rmdir()
                self._directory.close()
                self.path, self._directory = path, directory
        return words

    def discard(self, tag: int) -> None:
        """Removes a leaf that its guard never reached."""
        with contextlib.suppress(OSError):
            self.leaf(tag).rmdir()

    def close(self) -> None:
        """Removes the cgroup. Guards remove the leaves that are not empty yet. Calling it again has no effect."""
        try:
            self.path.rmdir()
            step_back(self.own)
        except OSError:
            pass
        finally:
            self._directory.close()


def empty(cgroup: Path, own: Path) -> bool:
    """Kills every process in a cgroup and removes it. Returns whether it is gone; call it again until it is.

    Any process of the same user may have written this process's id into the cgroup. This process then returns to its
    ``own`` cgroup first.
    """
    try:
        if _is_removed(cgroup):
            return True
        stay_out(cgroup, own)
        _kill(cgroup)
        remove(cgroup)
    except FileNotFoundError:
        return not cgroup.exists()
    except OSError as error:
        if error.errno == errno.EACCES:
            unlock(cgroup, own, cgroup / _KILL)
        # Killing the cgroup as a whole misses a process whose main thread has ended while others live (seen on 6.18).
        kill_listed(cgroup)
        return False
    return True


def _is_removed(cgroup: Path) -> bool:
    """Removes a cgroup that is empty, and waits until moves into it that are under way are done.

    A move holds the kernel's lock on cgroups for milliseconds, as csrc/linux/cgroup.c explains, and a removal waits for
    it. Whether this process is in the cgroup is certain only afterwards.
    """
    try:
        cgroup.rmdir()
    except FileNotFoundError:
        raise
    except OSError:
        return False
    return True


def unlock(cgroup: Path, own: Path, *files: Path) -> None:
    """Restores the modes of a tree's cgroup and of ``files`` in it. The walk below it restores the modes it meets."""
    with contextlib.suppress(OSError):
        if cgroup.parent != own:
            mend(cgroup.parent)
        cgroup.chmod(0o755)
        for file in files:
            file.chmod(0o644)


def _is_in(cgroup: Path) -> bool:
    """Whether this process is in a cgroup or below it. The last two names of a leaf's path identify it."""
    try:
        lines = Path("/proc/self/cgroup").read_text("utf-8", "surrogateescape").splitlines()
    except OSError as error:
        # A path that is too long to be shown belongs to a cgroup far below.
        return error.errno == errno.ENAMETOOLONG
    end = "/".join(("", *cgroup.parts[-2:], ""))
    return any(line.startswith("0::") and end in f"{line}/" for line in lines)


def stay_out(cgroup: Path, own: Path) -> None:
    """Returns this process to its own cgroup if another process has moved it into ``cgroup`` or below.

    Raises OSError if it cannot. The caller must then neither kill nor freeze ``cgroup``.
    """
    if not _is_in(cgroup):
        return
    try:
        write(own / "cgroup.procs", str(os.getpid()))
    except OSError:
        # The cgroups below it have controllers, so no process may live in it.
        write(own / f"{PLACE}{os.getpid()}" / "cgroup.procs", str(os.getpid()))


def _kill(cgroup: Path) -> None:
    try:
        write(cgroup / _KILL, "1")
    except FileNotFoundError:
        _kill_frozen(cgroup)


def _kill_frozen(cgroup: Path) -> None:
    """Kills a cgroup before ``cgroup.kill`` (Linux 5.14): a frozen process cannot fork.

    SIGKILL reaches frozen processes (Linux 5.2). The cgroup stays frozen until every process in it has stopped, so that
    the next call finds no new processes.
    """
    write(cgroup / "cgroup.freeze", "1")
    frozen = "frozen 1" in (cgroup / "cgroup.events").read_text("ascii")
    kill_listed(cgroup)
    if frozen:
        write(cgroup / "cgroup.freeze", "0")


def begin_sweep(parent: Path) -> None:
    """Sweeps in a thread, if there is anything to sweep. The next manager sweeps what this one leaves."""
    if any(map(_is_left, _names(parent))):
        with contextlib.suppress(RuntimeError):  # no thread is available
            threading.Thread(target=sweep, args=(parent,), name="treeguard-sweeper", daemon=True).start()


def sweep(parent: Path) -> None:
    """Kills and removes the cgroups in ``parent`` of managers that were killed together with their guards.

    A process id *and* a start time identify an owner, in the pid namespace that it had. The owners of other namespaces
    cannot be checked from here, so their cgroups are left alone. The guards of an owner that has just died work here
    too.
    """
    deadline = time.monotonic() + _SWEEP_PATIENCE
    left = [name for name in _names(parent) if _is_left(name)]
    while left:
        left = [name for name in left if not _swept(parent, name)]
        if time.monotonic() >= deadline:
            break
        time.sleep(_PAUSE)


def _names(parent: Path) -> list[str]:
    try:
        return os.listdir(parent)  # noqa: PTH208 - names, not paths
    except OSError:
        return []


def _is_left(name: str) -> bool:
    """Whether a dead owner has left the cgroup of that name."""
    place = owner_of_place(name)
    if place is not None:
        return not _lives(place)
    match = _NAME.fullmatch(name)
    return match is not None and int(match[1]) == _namespace() and not _lives(int(match[2]), int(match[3]))


def _swept(parent: Path, name: str) -> bool:
    if owner_of_place(name) is None:
        return empty(parent / name, parent)
    # A dead supervisor had stepped aside to it. Processes that it started itself may live on there; they are not ours.
    with contextlib.suppress(OSError):
        (parent / name).rmdir()
    return True


def _namespace() -> int:
    return os.stat("/proc/self/ns/pid").st_ino  # noqa: PTH116 - one call


def _lives(pid: int, started: int | None = None) -> bool:
    """Whether a process with that start time lives. A process that cannot be examined counts as alive."""
    try:
        seen = find(pid)
    except OSError:
        return True
    return seen is not None and (started is None or (seen.alive and seen.started == started))
