"""What spawning does at the limits of a process: to be run apart (:mod:`tests.support.apart`)."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from treeguard import ChildHandle, LocalProcessManager, SpawnError, SpawnParams, TreeguardError
from treeguard._core import native
from treeguard.types import ContainmentName, Mechanism

from .judge import children
from .patience import PATIENCE

__all__ = [
    "choice_in_a_shortage",
    "choice_with_a_slow_guard",
    "few_descriptors",
    "few_processes",
    "few_processes_in_a_cgroup",
]


@contextmanager
def _limited(what: int, soft: int) -> Iterator[None]:
    old = resource.getrlimit(what)
    resource.setrlimit(what, (soft, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(what, old)


def _descriptors() -> list[str]:
    return sorted(os.listdir("/proc/self/fd"))  # noqa: PTH208


@contextmanager
def _full_beyond(cgroup: Path, processes: int) -> Iterator[None]:
    (cgroup / "pids.max").write_text(str(processes), "ascii")
    try:
        yield
    finally:
        (cgroup / "pids.max").write_text("max", "ascii")


async def _attempt(
    manager: LocalProcessManager, program: str, limited: AbstractContextManager[None]
) -> dict[str, Any] | None:
    """One spawn under a limit. None if it worked, else the error; and that it left nothing."""
    before = _descriptors()
    child: ChildHandle | None = None
    error: TreeguardError | None = None
    with limited:
        try:
            child = await manager.spawn_child(SpawnParams(program=program))
        except TreeguardError as e:
            error = e
    if child is not None:
        await manager.kill_tree(child.pid)
        assert await manager.wait_for_exit(child.pid, PATIENCE)
    assert _descriptors() == before
    assert not children()
    if error is None:
        return None
    assert isinstance(error, SpawnError), error
    return {"class": type(error).__name__, "step": error.step, "errno": error.errno}


async def _attempts(
    containment: Mechanism, program: str, limits: Sequence[AbstractContextManager[None]]
) -> list[dict[str, Any] | None]:
    async with LocalProcessManager(containment=containment) as manager:
        first = await manager.spawn_child(SpawnParams(program=program))
        await manager.kill_tree(first.pid)
        assert await manager.wait_for_exit(first.pid, PATIENCE)
        outcomes = [await _attempt(manager, program, limited) for limited in limits]
        last = await manager.spawn_child(SpawnParams(program=program))
        await manager.kill_tree(last.pid)
        assert await manager.wait_for_exit(last.pid, PATIENCE)
    return outcomes


def choice_in_a_shortage(asked: ContainmentName) -> list[str]:
    """What a manager says while descriptors are short, and what another achieves afterwards."""
    with _limited(resource.RLIMIT_NOFILE, 5):
        try:
            said: str = LocalProcessManager(containment=asked).containment.mechanism
        except TreeguardError as e:
            said = type(e).__name__
    return [said, LocalProcessManager(containment=asked).containment.mechanism]


def choice_with_a_slow_guard(guard: str) -> str:
    """The mechanism that a manager achieves with another guard."""
    native.GUARD = guard
    return LocalProcessManager().containment.mechanism


def few_descriptors(containment: Mechanism, program: str) -> list[dict[str, Any] | None]:
    """Spawns under each limit on descriptors from none to more than enough."""
    limits = [_limited(resource.RLIMIT_NOFILE, few) for few in range(40)]
    return asyncio.run(_attempts(containment, program, limits))


def few_processes(containment: Mechanism, program: str) -> list[dict[str, Any] | None]:
    """Spawns under limits on processes: of one, and where this may become another user, up to more than enough."""
    if os.geteuid() != 0:
        return asyncio.run(_attempts(containment, program, [_limited(resource.RLIMIT_NPROC, 1)]))
    with tempfile.TemporaryDirectory() as directory:
        # The programs are put where the other user can reach them.
        Path(directory).chmod(0o755)
        native.GUARD = shutil.copy(native.GUARD, directory)
        program = shutil.copy(program, directory)
        # A user without other processes: the limit counts all that a user has.
        user = 2_000_000 + os.getpid()
        os.setresuid(user, user, 0)
        try:
            limits = [_limited(resource.RLIMIT_NPROC, few) for few in range(1, 6)]
            return asyncio.run(_attempts(containment, program, limits))
        finally:
            os.setresuid(0, 0, 0)


def few_processes_in_a_cgroup(containment: Mechanism, program: str, directory: str) -> list[dict[str, Any] | None]:
    """Spawns in a cgroup that is full with what lives in it, and has room for one process more, and so on."""
    cgroup = Path(directory)
    (cgroup / "cgroup.procs").write_text("0", "ascii")
    ours = int((cgroup / "pids.current").read_text("ascii"))
    limits = [_full_beyond(cgroup, ours + more) for more in range(5)]
    return asyncio.run(_attempts(containment, program, limits))
