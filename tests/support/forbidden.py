"""What a supervisor does whose system calls are answered with an error; run apart (:mod:`tests.support.apart`)."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import resource
import signal
import tempfile
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from treeguard import (
    ChildHandle,
    ContainmentUnavailable,
    ContainmentWarning,
    GuardLost,
    LocalProcessManager,
    ProgramNotFound,
    SpawnError,
    SpawnParams,
)
from treeguard.errors import WorkingDirectoryNotFound
from treeguard.types import ContainmentName, Mechanism

from .adoption import Adoption
from .adversary import Adversary
from .judge import children, look
from .patience import PATIENCE, until
from .programs import Programs
from .seccomp import answers, forbid

__all__ = ["SCENES", "achieved", "attempts", "no_room_for_a_lease", "plays", "settles"]

_Scene = Callable[[LocalProcessManager, Programs], Awaitable[None]]


def _descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))  # noqa: PTH208


def _has_ended(pid: int) -> bool:
    seen = look(pid)
    return seen is None or seen.state == "Z"


async def _empty(manager: LocalProcessManager, child: ChildHandle) -> tuple[int | None, int | None]:
    """Waits until a tree is empty. Returns code and signal of its root."""
    assert await manager.wait_for_exit(child.pid, PATIENCE)
    root = await manager.wait_for_root(child.pid)
    assert root is not None
    return root.code, root.signal


async def _life(manager: LocalProcessManager, programs: Programs) -> None:
    for code in range(5):
        child = await manager.spawn_child(SpawnParams("sh", ("-c", f"exit {code}")))
        assert await _empty(manager, child) == (code, None)


async def _failing(manager: LocalProcessManager, programs: Programs) -> None:
    with pytest.raises(ProgramNotFound) as program:
        await manager.spawn_child(SpawnParams("/no/such/program"))
    assert (program.value.step, program.value.errno) == ("exec", errno.ENOENT)
    with pytest.raises(WorkingDirectoryNotFound) as directory:
        await manager.spawn_child(SpawnParams(programs.tiny, cwd="/no/such/directory"))
    assert (directory.value.step, directory.value.errno) == ("cwd", errno.ENOENT)
    with pytest.raises(SpawnError) as descriptor:
        await manager.spawn_child(SpawnParams(programs.tiny, pass_fds=(999,)))
    assert (descriptor.value.step, descriptor.value.errno) == ("pass_fds", errno.EBADF)


async def _terminated(manager: LocalProcessManager, programs: Programs) -> None:
    child = await manager.spawn_child(SpawnParams(programs.tiny))
    await manager.terminate_tree(child.pid)
    assert await _empty(manager, child) == (None, signal.SIGTERM)


async def _terminated_after_its_root(manager: LocalProcessManager, programs: Programs) -> None:
    """The rest of the root's group is signalled, although no process has the group's number as its id any more."""
    child = await manager.spawn_child(SpawnParams("sh", ("-c", "sleep 1000 & exit 3")))
    root = await manager.wait_for_root(child.pid, PATIENCE)
    assert root is not None
    assert root.code == 3
    assert not await manager.wait_for_exit(child.pid, 0)
    await manager.terminate_tree(child.pid)
    assert await _empty(manager, child) == (3, None)


async def _killed_after_its_root(manager: LocalProcessManager, programs: Programs) -> None:
    """The rest of the group keeps forking: a process is gone between the look and the signal."""
    with Adversary(programs, "swarm") as adversary:
        child = await manager.spawn_child(adversary.params())
        await adversary.ready()
        os.kill(child.os_pid, signal.SIGKILL)
        assert await manager.wait_for_root(child.pid, PATIENCE)
        await manager.kill_tree(child.pid)
        assert await _empty(manager, child) == (None, signal.SIGKILL)
        assert not adversary.traces


async def _killed(manager: LocalProcessManager, programs: Programs) -> None:
    contains = manager.containment.contains_escapees
    for kind in ("alone", "family", "deaf", *(("session", "daemon", "zoo") if contains else ())):
        with Adversary(programs, kind) as adversary:
            child = await manager.spawn_child(adversary.params())
            await adversary.ready()
            await manager.kill_tree(child.pid)
            assert await manager.wait_for_exit(child.pid, PATIENCE)
            assert not adversary.traces


async def _left(manager: LocalProcessManager, programs: Programs) -> None:
    """Trees of a manager that is left, and of another one with a lease."""
    lease = 10.0 if manager.containment.contains_escapees else None
    async with LocalProcessManager(containment=manager.containment.mechanism, lease=lease) as other:
        child = await other.spawn_child(SpawnParams(programs.tiny))
        assert not await other.wait_for_exit(child.pid, 0)
    assert _has_ended(child.os_pid)


async def _bare(manager: LocalProcessManager, programs: Programs) -> None:
    """Descriptors that are meant for nobody, though inheritable."""
    read, write = os.pipe()
    extra = [os.dup(read) for _ in range(40)]
    for fd in extra:
        os.set_inheritable(fd, True)
    child = await manager.spawn_child(SpawnParams(programs.tiny, pass_fds=(write,)))
    listing = f"/proc/{child.os_pid}/fd"
    try:
        # Close-on-exec descriptors are closed a moment after the kernel says that the exec is done.
        await until(lambda: sorted(map(int, os.listdir(listing))) == [0, 1, 2, write], "no other is left")  # noqa: PTH208
    finally:
        for fd in (read, write, *extra):
            os.close(fd)
    await manager.kill_tree(child.pid)
    assert await manager.wait_for_exit(child.pid, PATIENCE)


async def _lost(manager: LocalProcessManager, programs: Programs) -> None:
    """A guard that is killed: the root's group is ended all the same."""
    if not manager.containment.contains_escapees:
        return
    logging.getLogger("treeguard").addHandler(logging.NullHandler())
    with Adversary(programs, "deaf") as adversary:
        child = await manager.spawn_child(adversary.params())
        await adversary.ready()
        root = look(child.os_pid)
        assert root is not None
        os.kill(root.parent, signal.SIGKILL)
        if manager.containment.outlives_guard:
            assert await manager.wait_for_exit(child.pid, PATIENCE)
        else:
            with pytest.raises(GuardLost):
                await manager.wait_for_exit(child.pid, PATIENCE)
        assert not adversary.traces


SCENES: dict[str, _Scene] = {
    "life": _life,
    "failing": _failing,
    "terminated": _terminated,
    "terminated after its root": _terminated_after_its_root,
    "killed": _killed,
    "killed after its root": _killed_after_its_root,
    "left": _left,
    "bare": _bare,
    "lost": _lost,
}


async def _play(containment: Mechanism, programs: Programs, scenes: list[str]) -> str:
    """One after another in one manager. Each leaves nothing. Returns the mechanism that was achieved."""
    async with LocalProcessManager(containment=containment) as manager:
        before = _descriptors()
        for scene in scenes:
            with Adoption() as adoption:
                await SCENES[scene](manager, programs)
                # This process adopts the orphans of a lost guard, and of a group.
                adoption.reap_all()
            # After a lost guard a manager keeps two descriptors less for the next one, for some seconds.
            assert _descriptors() <= before, scene
            assert not children(), scene
        return manager.containment.mechanism


def plays(calls: list[str], error: int, containment: Mechanism, paths: list[str], scenes: list[str]) -> str:
    """Plays scenes on fallbacks."""
    forbid(calls, error)
    return asyncio.run(_play(containment, Programs(*paths), scenes))


async def _achieve(containment: ContainmentName) -> str:
    try:
        async with LocalProcessManager(containment=containment) as manager:
            return manager.containment.mechanism
    except ContainmentUnavailable as unavailable:
        return str(unavailable)


def achieved(calls: list[str], error: int, containment: Mechanism) -> str:
    """The mechanism that was achieved, or why none was."""
    forbid(calls, error)
    warnings.simplefilter("ignore", ContainmentWarning)
    logging.getLogger("treeguard").addHandler(logging.NullHandler())
    return asyncio.run(_achieve(containment))


class _Records(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.words.append(f"{record.name} {record.levelname}: {record.getMessage()}")


def settles(calls: list[str], error: int, asked: ContainmentName, managers: int) -> list[Any]:
    """What is warned of, and logged, by so many managers one after another: category and words, and lines."""
    forbid(calls, error)
    records = _Records()
    logging.getLogger("treeguard").addHandler(records)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for _ in range(managers):
            asyncio.run(_achieve(asked))
    return [[[each.category.__name__, str(each.message)] for each in warned], records.words]


async def _lease_error() -> list[object]:
    with pytest.raises(SpawnError) as caught:
        async with LocalProcessManager(containment="subreaper", lease=10):
            pass
    return [caught.value.step, caught.value.errno]


def no_room_for_a_lease(full: bool) -> list[object]:
    """What is raised without memfd_create, on a full file system or where there is no directory for temporary files."""
    forbid(["memfd_create"], errno.ENOSYS)
    if full:
        tempfile.gettempdir()  # which tries it out, once
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    else:
        tempfile.tempdir = "/no/such/directory"
    before = _descriptors()
    error = asyncio.run(_lease_error())
    assert _descriptors() == before
    return error


def attempts(calls: list[str], error: int) -> dict[str, Any]:
    """What the system says to each known call, with some of them forbidden."""
    forbid(calls, error)
    return answers()
