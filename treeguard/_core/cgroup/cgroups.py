"""The cgroup of a manager, and its leaves: found, made, swept and removed.

Only cgroup version 2 serves (cgroups(7)); in a hybrid layout that is the hierarchy without controllers.
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
from ..processes.procfs import find
from .below import kill_listed, remove
from .cgroupfs import write
from .controllers import PLACE, limit, owner_of_place, step_back, turn_on, turn_on_below_own
from .mending import mend, what_is_wrong

__all__ = ["ManagerCgroup", "empty", "own_cgroup", "stay_out", "unlock"]

#: Of a manager's cgroup: pid namespace, process id and start of its owner. Anybody may give a name to a cgroup.
_NAME = re.compile(r"treeguard\.([0-9]{1,20})\.([0-9]{1,7})\.([0-9]{1,20})\.[0-9a-f]+")
#: How long, in seconds, what is left by a dead owner is waited for, by a thread that nobody waits for.
_SWEEP_PATIENCE = 1.0
_PAUSE = 0.005
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
            return own.parent if owner_of_place(own.name) is not None else own
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
        """Makes it, and lets what dead owners left be swept. Raises OSError where that may not be done."""
        #: This process's own cgroup.
        self.own = own_cgroup() if parent is None else parent
        begin_sweep(self.own)
        self.path, self._directory = self._made()

    @property
    def fd(self) -> int:
        """Its directory."""
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
        """The directory of a tree's leaf; the guard makes and removes it."""
        return self.path / str(tag)

    @property
    def killed_at_once(self) -> bool:
        """Whether this kernel kills a cgroup in one step, and does not need it frozen first."""
        return (self.path / _KILL).exists()

    def controllers(self) -> frozenset[str]:
        """Turns on those that keep limits. Returns which of them leaves have."""
        return turn_on(self.path) if turn_on_below_own(self.own) else frozenset()

    def limited_leaf(self, tag: int, limits: Limits) -> None:
        """Makes a leaf with limits before its guard does. Raises OSError where a controller is missing."""
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
        """Why a tree could not be put into a leaf, as far as it can be seen; with the file that says so.

        Somebody who may write here too can have removed the manager's cgroup, or have made it threaded, which cannot
        be undone. Nobody lives in it then, so the trees that come get another.
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
        """Removes a leaf whose guard never came to it."""
        with contextlib.suppress(OSError):
            self.leaf(tag).rmdir()

    def close(self) -> None:
        """Removes it. What its guards have not emptied yet stays theirs to remove. Again is no error."""
        try:
            self.path.rmdir()
            step_back(self.own)
        except OSError:
            pass
        finally:
            self._directory.close()


def empty(cgroup: Path, own: Path) -> bool:
    """Kills what is in a cgroup and removes it; whether it is gone. To be called again as long as it isn't.

    Anybody of the same user can have written this process's number into it: then that returns to its ``own`` first.
    """
    try:
        stay_out(cgroup, own)
        _kill(cgroup)
        remove(cgroup)
    except FileNotFoundError:
        return not cgroup.exists()
    except OSError as error:
        if error.errno == errno.EACCES:
            unlock(cgroup, own, cgroup / _KILL)
        # A process whose main thread has ended while others live is not hit by a kill as a whole (seen on 6.18).
        kill_listed(cgroup)
        return False
    return True


def unlock(cgroup: Path, own: Path, *files: Path) -> None:
    """Undoes what somebody has done to the modes of what is ours here; those below are unlocked on the way there."""
    with contextlib.suppress(OSError):
        if cgroup.parent != own:
            mend(cgroup.parent)
        cgroup.chmod(0o755)
        for file in files:
            file.chmod(0o644)


def _is_in(cgroup: Path) -> bool:
    """Whether this process is in a cgroup or below it. The last two names of a leaf's path are no other cgroup's."""
    try:
        lines = Path("/proc/self/cgroup").read_text("utf-8", "surrogateescape").splitlines()
    except OSError as error:
        # A path that is too long to be shown leads far below.
        return error.errno == errno.ENAMETOOLONG
    end = "/".join(("", *cgroup.parts[-2:], ""))
    return any(line.startswith("0::") and end in f"{line}/" for line in lines)


def stay_out(cgroup: Path, own: Path) -> None:
    """Returns to the own cgroup if somebody has put this process into another one, or below it.

    Raises OSError if it cannot: then that one must neither be killed nor frozen.
    """
    if not _is_in(cgroup):
        return
    try:
        write(own / "cgroup.procs", str(os.getpid()))
    except OSError:
        # Those below have controllers, so no process may live in it.
        write(own / f"{PLACE}{os.getpid()}" / "cgroup.procs", str(os.getpid()))


def _kill(cgroup: Path) -> None:
    try:
        write(cgroup / _KILL, "1")
    except FileNotFoundError:
        _kill_frozen(cgroup)


def _kill_frozen(cgroup: Path) -> None:
    """Before ``cgroup.kill`` (Linux 5.14): what is frozen cannot fork.

    SIGKILL reaches the frozen (5.2). As long as somebody does not stand still, nobody is let go on, so that the next
    call finds no newcomers.
    """
    write(cgroup / "cgroup.freeze", "1")
    frozen = "frozen 1" in (cgroup / "cgroup.events").read_text("ascii")
    kill_listed(cgroup)
    if frozen:
        write(cgroup / "cgroup.freeze", "0")


def begin_sweep(parent: Path) -> None:
    """Sweeps in a thread, if there is anything to sweep. What that leaves is the next manager's."""
    if any(map(_is_left, _names(parent))):
        with contextlib.suppress(RuntimeError):  # no thread is to be had
            threading.Thread(target=sweep, args=(parent,), name="treeguard-sweeper", daemon=True).start()


def sweep(parent: Path) -> None:
    """Ends and removes what managers left in ``parent`` that were killed together with their guards.

    An owner is known by process id *and* start time, in the process id namespace that it had; those of other namespaces
    cannot be judged from here and are left alone. The guards of an owner that died just now are at work here too.
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
    """Whether a cgroup of that name is what a dead owner has left."""
    place = owner_of_place(name)
    if place is not None:
        return not _lives(place)
    match = _NAME.fullmatch(name)
    return match is not None and int(match[1]) == _namespace() and not _lives(int(match[2]), int(match[3]))


def _swept(parent: Path, name: str) -> bool:
    if owner_of_place(name) is None:
        return empty(parent / name, parent)
    # Where a dead supervisor had stepped aside to; what it started itself may live on there, and is not ours.
    with contextlib.suppress(OSError):
        (parent / name).rmdir()
    return True


def _namespace() -> int:
    return os.stat("/proc/self/ns/pid").st_ino  # noqa: PTH116 - one call


def _lives(pid: int, started: int | None = None) -> bool:
    """Whether a process lives that started then. One that could not be looked at does, as far as can be told."""
    try:
        seen = find(pid)
    except OSError:
        return True
    return seen is not None and (started is None or (seen.alive and seen.started == started))
