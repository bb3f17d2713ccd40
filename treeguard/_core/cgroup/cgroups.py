"""The cgroup of a manager and its leaves: finding, making and removing them.

Only cgroup version 2 is supported (cgroups(7)). In a hybrid layout that is the hierarchy without controllers.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from ..native import Descriptor
from ..processes.mounts import cgroup_mounts
from ..processes.procfs import STARTED, stat_of
from .cgroupfs import KILL, PLACE, owner_of_place, write
from .controllers import turn_on, turn_on_below_own

__all__ = ["ManagerCgroup", "own_cgroup", "pid_namespace"]


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
        self._sweep()
        self.path, self._directory = self._made()

    @property
    def fd(self) -> int:
        """The descriptor of the cgroup's directory."""
        return self._directory.number

    def _made(self) -> tuple[Path, Descriptor]:
        started = stat_of(os.getpid())[1][STARTED]
        path = self.own / f"treeguard.{pid_namespace()}.{os.getpid()}.{started}.{os.urandom(4).hex()}"
        try:
            path.mkdir()
        except OSError as error:
            from .mending import what_is_wrong

            words = what_is_wrong(path) or f"no cgroup can be made below {self.own}"
            raise OSError(error.errno, f"{error.strerror}: {words}") from None
        try:
            directory = Descriptor()
            directory.open(path, os.O_RDONLY | os.O_DIRECTORY)
            return path, directory
        except BaseException:
            path.rmdir()
            raise

    def _sweep(self) -> None:
        """Sweeps what dead owners left, in a thread. The next manager sweeps what this one leaves."""
        with contextlib.suppress(OSError):
            ours = (f"treeguard.{pid_namespace()}.", PLACE)
            if any(name.startswith(ours) for name in os.listdir(self.own)):  # noqa: PTH208 - names, not paths
                from .leftovers import begin_sweep

                begin_sweep(self.own)

    def leaf(self, tag: int) -> Path:
        """The directory of a tree's leaf. The guard makes and removes it."""
        return self.path / str(tag)

    @property
    def killed_at_once(self) -> bool:
        """Whether this kernel kills a cgroup in one step, without freezing it first."""
        return (self.path / KILL).exists()

    def kill_leaf(self, tag: int) -> bool:
        """Kills what is in a leaf. Returns whether the leaf is gone; call it again until it is."""
        leaf = self.leaf(tag)
        if not self.killed_at_once:
            from .emptying import empty

            return empty(leaf, self.own)
        try:
            write(leaf / KILL, "1")
            leaf.rmdir()
        except OSError:  # its processes have not ended yet, or its guard has removed it
            return not leaf.exists()
        return True

    def controllers(self) -> frozenset[str]:
        """Turns on the controllers that keep limits. Returns those that leaves have."""
        return turn_on(self.path) if turn_on_below_own(self.own) else frozenset()

    def why_not(self, error: int) -> str:
        """The reason why a tree could not be put into a leaf, with the file that shows it; empty if none is visible.

        Another process that may write here may have removed the manager's cgroup, or made it threaded, which cannot be
        undone. No process lives in the cgroup then, so this makes another one for the trees that follow.
        """
        from .mending import what_is_wrong

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
            if (self.own / f"{PLACE}{os.getpid()}").exists():
                from .stepping_aside import step_back

                step_back(self.own)
        except OSError:
            pass
        finally:
            self._directory.close()


def pid_namespace() -> int:
    """The inode of this process's pid namespace, which is in the names of managers' cgroups."""
    return os.stat("/proc/self/ns/pid").st_ino  # noqa: PTH116 - one call
