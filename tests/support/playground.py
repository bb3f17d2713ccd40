"""Cgroups for a test whose processes move about: made for it, given to a user, and removed with all that is in them."""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path
from types import TracebackType

from .patience import wait_until

__all__ = ["Playground"]


def _mounts(kind: str, option: str = "") -> list[Path]:
    lines = [line.split() for line in Path("/proc/self/mounts").read_text("utf-8").splitlines()]
    return [Path(line[1]) for line in lines if line[2] == kind and (not option or option in line[3].split(","))]


def _made(kind: str, option: str, controller: str) -> Path | None:
    """A new cgroup below this process's own; None where none can be made."""
    own = dict(line.split(":", 2)[1:] for line in Path("/proc/self/cgroup").read_text("utf-8").splitlines())
    for mount in _mounts(kind, option):
        path = mount / own.get(controller, "/").lstrip("/") / f"treeguard-test-{uuid.uuid4().hex}"
        with contextlib.suppress(OSError):
            path.mkdir()
            return path
    return None


def _give(path: Path, uid: int) -> None:
    for each in (path, *path.iterdir()):
        if uid != os.geteuid():
            os.chown(each, uid, uid)


class Playground:
    """One cgroup for a supervisor, and some to move to; each None where the host has none to give."""

    def __init__(self, uid: int) -> None:
        """``uid``: whose they are."""
        self._uid = uid

    def __enter__(self) -> Playground:
        self.top = _made("cgroup2", "", "")
        #: Of version 1, for what is to stand still.
        self.freezer = _made("cgroup", "freezer", "freezer")
        self.home = self._below("supervisor")
        self.elsewhere = self._below("elsewhere")
        for path in (self.top, self.freezer, self.home, self.elsewhere):
            if path is not None:
                _give(path, self._uid)
        return self

    def _below(self, name: str) -> Path | None:
        if self.top is None:
            return None
        path = self.top / name
        path.mkdir()
        return path

    def enter(self) -> None:
        """Moves this process to where the supervisor lives."""
        if self.home is not None:
            (self.home / "cgroup.procs").write_text(str(os.getpid()), "ascii")

    def thaw(self) -> None:
        """Lets everybody go on."""
        if self.freezer is not None:
            (self.freezer / "freezer.state").write_text("THAWED", "ascii")
        for path in self._all():
            with contextlib.suppress(OSError):
                (path / "cgroup.freeze").write_text("0", "ascii")

    def _all(self) -> list[Path]:
        """The deepest first."""
        return [] if self.top is None else [Path(path) for path, _, _ in os.walk(self.top, topdown=False)]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Removes the cgroup, in which no process lives any more."""
        self.thaw()
        wait_until(self._removed, "the test's cgroups are removed")

    def _removed(self) -> bool:
        for path in [*self._all(), *([] if self.freezer is None else [self.freezer])]:
            with contextlib.suppress(OSError):
                path.rmdir()
        return not any(path is not None and path.exists() for path in (self.top, self.freezer))
