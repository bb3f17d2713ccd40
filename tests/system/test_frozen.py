"""Trees in cgroups that another process has frozen, of both versions, and errors that name what cannot be ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from treeguard import ChildHandle, LocalProcessManager, ProcessEnded, SpawnParams, TreeNotEmpty
from treeguard._core import running
from treeguard._core.cgroup.cgroupfs import write
from treeguard._core.cgroup.cgroups import own_cgroup
from treeguard._core.inspection import members
from treeguard._core.inspection.members import MembersOfLeaf
from treeguard._core.inspection.survivors import described
from treeguard._core.processes import freezer
from treeguard._core.processes.mounts import cgroup_mounts
from treeguard.types import Mechanism

from ..support.adoption import Adoption
from ..support.adversary import Adversary
from ..support.judge import carriers, look
from ..support.mechanisms import CONTAINING
from ..support.nested import Nested
from ..support.newborns import newborns_meet
from ..support.patience import PATIENCE, until, wait_until
from ..support.programs import Programs

_SCRIPT = "setsid sleep 1000 & exec sleep 1000"


class Freezer:
    """A cgroup of version 1 that can be frozen."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def take(self, pid: int) -> None:
        write(self.directory / "cgroup.procs", str(pid))

    def freeze(self) -> None:
        write(self.directory / "freezer.state", "FROZEN")
        wait_until(lambda: (self.directory / "freezer.state").read_text() == "FROZEN\n", "all are frozen")

    def thaw(self) -> None:
        write(self.directory / "freezer.state", "THAWED")


@pytest.fixture
def freezing() -> Iterator[Freezer]:
    """A freezer of the test's own."""
    mounts = cgroup_mounts("freezer")
    if not mounts:
        pytest.skip("there is no freezer of version 1")
    directory = mounts[0].point / f"treeguard-test-{uuid.uuid4().hex}"
    try:
        directory.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup can be made in it: {error}")
    try:
        yield Freezer(directory)
    finally:
        with contextlib.suppress(OSError):
            write(directory / "freezer.state", "THAWED")
        wait_until(lambda: _removed(directory), f"{directory} is removed")


def _removed(directory: Path) -> bool:
    with contextlib.suppress(OSError):
        directory.rmdir()
    return not directory.exists()


class FrozenFromTheStart:
    """A frozen cgroup of either version."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def take(self, pid: int) -> None:
        with contextlib.suppress(OSError):
            write(self.directory / "cgroup.procs", str(pid))


@pytest.fixture(params=["version 1", "version 2"])
def frozen_cgroup(request: pytest.FixtureRequest) -> Iterator[FrozenFromTheStart]:
    """One of the test's own."""
    if request.param == "version 1":
        freezing = request.getfixturevalue("freezing")
        write(freezing.directory / "freezer.state", "FROZEN")
        yield FrozenFromTheStart(freezing.directory)
        return
    if "cgroup" not in CONTAINING:
        pytest.skip("no cgroup may be made here")
    directory = own_cgroup() / f"test-{uuid.uuid4().hex}"
    directory.mkdir()
    write(directory / "cgroup.freeze", "1")
    try:
        yield FrozenFromTheStart(directory)
    finally:
        write(directory / "cgroup.freeze", "0")
        wait_until(lambda: _removed(directory), f"{directory} is removed")


async def frozen(manager: LocalProcessManager, freezing: Freezer) -> ChildHandle:
    """A tree of two, one of them in a session of its own, that is frozen beside another process."""
    child = await manager.spawn_child(SpawnParams("sh", ("-c", _SCRIPT)))
    await until(lambda: _grown(child), "both are there")
    for pid in await manager.members(child.pid):
        freezing.take(pid)
    freezing.freeze()
    return child


def _grown(child: ChildHandle) -> bool:
    seen = look(child.os_pid)
    listed = subprocess.run(["ps", "-o", "comm=", "--ppid", str(child.os_pid)], capture_output=True, check=False).stdout
    return seen is not None and seen.name == "sleep" and listed.strip() == b"sleep"


async def test_frozen_tree_is_ended_and_nobody_else_is_thawed(
    containing: Mechanism, freezing: Freezer, adoption: Adoption
) -> None:
    """SIGKILL waits for as long as they are frozen, so they are taken out of there."""
    with subprocess.Popen(["sleep", "1000"]) as bystander:
        freezing.take(bystander.pid)
        async with LocalProcessManager(containment=containing) as manager:
            child = await frozen(manager, freezing)
            await manager.kill_tree(child.pid)
            assert await manager.wait_for_exit(child.pid, PATIENCE)
        assert not adoption.newcomers().keys() - {bystander.pid}
        assert (freezing.directory / "freezer.state").read_text() == "FROZEN\n"
        assert freezer.frozen_in(bystander.pid) == freezing.directory
        freezing.thaw()
        bystander.kill()


async def test_frozen_tree_that_lost_its_guard_is_ended(
    containing: Mechanism, freezing: Freezer, adoption: Adoption
) -> None:
    """By the supervisor, which may write there too."""
    async with LocalProcessManager(containment=containing) as manager:
        child = await frozen(manager, freezing)
        root = look(child.os_pid)
        assert root is not None
        pids = await manager.members(child.pid)
        os.kill(root.parent, signal.SIGKILL)
        await until(lambda: not any((seen := look(pid)) and seen.state == "D" for pid in pids), "none is frozen")
        with contextlib.suppress(Exception):
            await manager.wait_for_exit(child.pid, PATIENCE)
        assert not any((seen := look(pid)) and seen.state != "Z" for pid in pids)


def test_frozen_tree_of_a_dead_supervisor_is_ended(
    containing: Mechanism, freezing: Freezer, programs: Programs, adoption: Adoption
) -> None:
    """By its guard alone."""
    with Adversary(programs, "session") as adversary, Nested([containing], adversary) as nested:
        for pid in carriers(adversary.marker):
            freezing.take(pid)
        freezing.freeze()
        os.kill(nested.supervisors[0], signal.SIGKILL)
        adversary.wait_gone()


async def test_start_with_a_guard_that_is_frozen_at_birth_comes_back(
    containing: Mechanism, frozen_cgroup: FrozenFromTheStart, adoption: Adoption
) -> None:
    """A guard that cannot say *started* is not waited for: its tree is ended, and the caller told."""
    failed = False
    # More than a megabyte to be copied twice: that gives the hunter the time that it takes.
    slow = SpawnParams("sleep", ("1000",), env={f"TREEGUARD_TEST_{i}": "x" * 100_000 for i in range(15)})
    async with LocalProcessManager(containment=containing) as manager:
        with newborns_meet(frozen_cgroup.take):
            for _ in range(40):
                try:
                    child = await asyncio.wait_for(manager.spawn_child(slow), PATIENCE)
                except ProcessEnded:
                    failed = True
                    break
                # It was too late for this one.
                await manager.kill_tree(child.pid)
                assert await manager.wait_for_exit(child.pid, PATIENCE)
        assert failed
        child = await manager.spawn_child(SpawnParams("sleep", ("1000",)))
    adoption.reap_all()


async def test_frozen_process_without_a_guard_is_named(freezing: Freezer, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its number, its name, and the directory that freezes it."""
    monkeypatch.setattr(running, "LEAVE_TIMEOUT", 0.2)
    manager = LocalProcessManager(containment="process_group")
    child = await manager.spawn_child(SpawnParams("sleep", ("1000",)))
    freezing.take(child.os_pid)
    freezing.freeze()
    with pytest.raises(TreeNotEmpty) as raised:
        await manager.close()
    assert f"{child.os_pid} sleep (state D, frozen by {freezing.directory})" in str(raised.value)
    freezing.thaw()
    await asyncio.to_thread(os.waitpid, child.os_pid, 0)


def test_stranger_is_named_with_its_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that may not be signalled."""

    class One(MembersOfLeaf):
        def pids(self) -> tuple[int, ...]:
            return (os.getpid(),)

    def refuse(pid: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr("os.kill", refuse)
    monkeypatch.setattr(members, "living_in", lambda _: {0, os.getpid()})
    words = described(One(Path("/nowhere"), 1))
    assert words.startswith(f"{os.getpid()} ")
    assert f"of user {os.getuid()}" in words
    assert words.endswith("processes of another PID namespace, which have no number here")


def test_process_without_a_number_is_no_member(monkeypatch: pytest.MonkeyPatch) -> None:
    """0 would mean the own group to kill(2)."""
    monkeypatch.setattr(members, "living_in", lambda _: {0, 5})
    leaf = MembersOfLeaf(Path("/nowhere"), -1)
    assert leaf.pids() == (5,)
    assert not leaf.has(0)


@pytest.mark.skipif("cgroup" not in CONTAINING, reason="no cgroup may be made here")
@pytest.mark.parametrize("adversary", ["husk", "session"], indirect=True)
async def test_what_is_in_a_frozen_cgroup_below_is_ended(adversary: Adversary, adoption: Adoption) -> None:
    """Of version 2, where SIGKILL reaches the frozen."""
    async with LocalProcessManager(containment="cgroup") as manager:
        child = await manager.spawn_child(adversary.params())
        await adversary.ready()
        (leaf,) = own_cgroup().glob(f"treeguard.*.{os.getpid()}.*/*/")
        below = leaf / "a" / "b"
        below.mkdir(parents=True)
        for pid in await manager.members(child.pid):
            write(below / "cgroup.procs", str(pid))
        for each in (below, below.parent, leaf):
            write(each / "cgroup.freeze", "1")
        await manager.kill_tree(child.pid)
        assert await manager.wait_for_exit(child.pid, PATIENCE)
        assert not adversary.traces
        assert not leaf.exists()
