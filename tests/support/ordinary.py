"""Running as an ordinary user where the tests run as root, since root may do more to other processes."""

from __future__ import annotations

import concurrent.futures.thread  # noqa: F401 - imported late by asyncio
import ctypes
import importlib
import os
import pkgutil
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import treeguard
from treeguard._core import native

from .programs import Programs

__all__ = ["USERS", "become", "import_all", "reachable"]

_PR_SET_DUMPABLE = 4
#: A user id that nobody else has, and a different one for each worker: some limits count all processes of a user.
_UID = 50_000 + os.getpid() % 10_000

#: The users that a supervisor can run as: the tests' own, and an ordinary one.
USERS = {"root": 0, "ordinary": _UID} if os.geteuid() == 0 else {"ordinary": os.geteuid()}


@contextmanager
def reachable(programs: Programs) -> Iterator[Programs]:
    """Copies of programs and guard that every user may run, wherever the checkout is. In forked processes it is used.

    Modules are imported now, since a process that has become another user may not get at them.
    """
    import_all()
    own = native.GUARD
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        native.GUARD = shutil.copy(own, directory)
        try:
            yield Programs(*(shutil.copy(program, directory) for program in programs))
        finally:
            native.GUARD = own


def import_all() -> None:
    """Imports all modules of the package."""
    for module in pkgutil.walk_packages(treeguard.__path__, "treeguard."):
        if "windows" not in module.name and not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def become(uid: int) -> None:
    """Gives all privileges up for good."""
    if uid == os.geteuid():
        return
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    # The kernel protects a process that has changed its user. One that was started by a user is not protected.
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "PR_SET_DUMPABLE")
