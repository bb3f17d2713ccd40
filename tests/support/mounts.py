"""File systems that are read-only, or full: mounted so in a mount namespace of one's own, which takes privileges."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from treeguard import ContainmentUnavailable, LocalProcessManager, SpawnError, SpawnParams

from .adversary import Adversary
from .apart import command_of, run_here
from .judge import children, descriptors
from .patience import PATIENCE
from .programs import Programs
from .seccomp import forbid

__all__ = ["mechanisms_on_read_only", "mount", "no_room_for_a_lease", "run_with_mounts", "turns_read_only"]

_MS_RDONLY, _MS_NOEXEC, _MS_REMOUNT, _MS_BIND = 1, 8, 32, 4096
_libc = ctypes.CDLL(None, use_errno=True)


def run_with_mounts(function: Callable[..., Any], *arguments: Any) -> Any:
    """Calls a module's function in a process whose mounts are its own. Arguments and result are JSON.

    Skips the test where that may not be done.
    """
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("mounts of one's own take privileges, and unshare(1)")
    return json.loads(run_here(["unshare", "--mount", *command_of(function, *arguments)]).stdout)


def _mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    words = [word if word is None else word.encode() for word in (source, target, kind)]
    if _libc.mount(*words, ctypes.c_ulong(flags), options and options.encode()) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), target)


def mount(source: str, target: str, kind: str, *, noexec: bool = False) -> None:
    """Mounts a file system, in a mount namespace of one's own."""
    _mount(source, target, kind, _MS_NOEXEC if noexec else 0)


def _remount_cgroups(read_only: bool) -> None:
    for line in Path("/proc/self/mounts").read_text("utf-8").splitlines():
        _, target, kind, *_ = line.split()
        if kind == "cgroup2":
            _mount(None, target, None, _MS_REMOUNT | _MS_BIND | (_MS_RDONLY if read_only else 0))


def mechanisms_on_read_only() -> list[str]:
    """What is said where cgroups are asked for, and what is taken instead."""
    _remount_cgroups(True)
    with pytest.raises(ContainmentUnavailable) as caught:
        _ = LocalProcessManager(containment="cgroup").containment
    return [str(caught.value), LocalProcessManager().containment.mechanism]


async def _refused(manager: LocalProcessManager, program: str) -> tuple[str, int | None]:
    """The step and errno of a spawn that must fail, and leaves nothing."""
    opened, family = descriptors(), set(children())
    with pytest.raises(SpawnError) as caught:
        await manager.spawn_child(SpawnParams(program))
    assert descriptors() == opened
    assert set(children()) == family
    return caught.value.step, caught.value.errno


async def _turns_read_only(programs: Programs) -> tuple[str, int | None]:
    async with LocalProcessManager(containment="cgroup") as manager:
        with Adversary(programs, "zoo") as adversary:
            child = await manager.spawn_child(adversary.params())
            await adversary.ready()
            # A guard holds what it kills its leaf by, open for writing.
            with pytest.raises(OSError, match=os.strerror(errno.EBUSY)):
                _remount_cgroups(True)
            await manager.kill_tree(child.pid)
            assert await manager.wait_for_exit(child.pid, PATIENCE)
            assert not adversary.traces
        _remount_cgroups(True)
        refused = await _refused(manager, programs.tiny)
        _remount_cgroups(False)
        after = await manager.spawn_child(SpawnParams(programs.tiny))
        await manager.kill_tree(after.pid)
        assert await manager.wait_for_exit(after.pid, PATIENCE)
    return refused


def turns_read_only(paths: list[str]) -> list[Any]:
    """A spawn while cgroups are read-only, which they cannot become under a tree. Step, errno and process id."""
    return [*asyncio.run(_turns_read_only(Programs(*paths))), os.getpid()]


def no_room_for_a_lease(full: bool) -> tuple[str, int | None]:
    """What is raised without memfd_create where temporary files are on a full file system, or a read-only one."""
    forbid(["memfd_create"], errno.ENOSYS)
    with tempfile.TemporaryDirectory() as directory:
        _mount("none", directory, "tmpfs", 0, "size=4k")
        tempfile.tempdir = directory
        if full:
            Path(directory, "all").write_bytes(b"x" * 4096)
        else:
            _mount(None, directory, None, _MS_REMOUNT | _MS_RDONLY)
        opened = descriptors()
        error = asyncio.run(_lease_error())
        assert descriptors() == opened
        tempfile.tempdir = None
        _libc.umount2(directory.encode(), 0)
    return error


async def _lease_error() -> tuple[str, int | None]:
    with pytest.raises(SpawnError) as caught:
        async with LocalProcessManager(containment="subreaper", lease=10):
            pass
    return caught.value.step, caught.value.errno
