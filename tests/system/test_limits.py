"""Limits on a tree: kept for the tree by a cgroup's controllers, for each process by the system, or refused."""

from __future__ import annotations

import asyncio
import errno
import os
import sys
from pathlib import Path

import pytest

from treeguard import (
    Containment,
    ContainmentUnavailable,
    Limits,
    LocalProcessManager,
    RootExit,
    SpawnError,
    SpawnParams,
)
from treeguard._core.cgroup.cgroups import own_cgroup
from treeguard.types import Mechanism

from ..support.apart import run_apart
from ..support.delegation import in_a_scope
from ..support.judge import look
from ..support.patience import PATIENCE, until
from ..support.programs import Programs

MIB = 1 << 20

#: Asks for as much memory as it is told, and says whether it got it.
_GREEDY = """
import sys
try: bytearray(int(sys.argv[1]))
except MemoryError: sys.exit(3)
"""
#: Asks for it, and uses it.
_HUNGRY = """
import sys
data = bytearray(int(sys.argv[1]))
for at in range(0, len(data), 4096): data[at] = 1
"""
_FORKING = """
import os, sys, time
children = 0
try:
    for children in range(int(sys.argv[1])):
        if os.fork() == 0: time.sleep(1000)
    children += 1
except BlockingIOError:
    pass
print(children, flush=True)
"""


def python(code: str, *args: object, limits: Limits, stdout: int | None = None) -> SpawnParams:
    return SpawnParams(
        sys.executable,
        ("-c", code, *map(str, args)),
        limits=limits,
        stdout="inherit" if stdout is None else stdout,
    )


async def outcome(manager: LocalProcessManager, params: SpawnParams) -> RootExit:
    child = await manager.spawn_child(params)
    ended = await manager.wait_for_root(child.pid, PATIENCE)
    assert ended is not None
    await manager.kill_tree(child.pid)
    assert await manager.wait_for_exit(child.pid, PATIENCE)
    return ended


async def test_address_space_of_each_process_is_limited(mechanism: Mechanism, programs: Programs) -> None:
    """Where no controller keeps it for the tree: root and descendants have the limit, and cannot raise it."""
    async with LocalProcessManager(containment=mechanism) as manager:
        if manager.containment.memory_limit == "tree":
            pytest.skip("a controller keeps the limit for the tree")
        assert manager.containment.memory_limit == "process"
        limits = Limits(memory=512 * MIB)
        child = await manager.spawn_child(
            SpawnParams("sh", ("-c", f"{programs.tiny} & exec {programs.tiny}"), limits=limits)
        )
        await until(lambda: _limited(child.os_pid), "the root is limited")
        for pid in await manager.members(child.pid):
            assert _limited(pid)


def _limited(pid: int) -> bool:
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    return ["536870912"] * 2 in [line.split()[3:5] for line in lines if line.startswith("Max address space")]


async def test_allocation_beyond_the_limit_fails(mechanism: Mechanism) -> None:
    """What is within the limit is given, what is beyond is not; without a limit it is."""
    async with LocalProcessManager(containment=mechanism) as manager:
        if manager.containment.memory_limit == "tree":
            pytest.skip("a controller keeps the limit for the tree")
        limits = Limits(memory=512 * MIB)
        beyond = await outcome(manager, python(_GREEDY, 1024 * MIB, limits=limits))
        assert (beyond.code, beyond.oom_killed) == (3, False)
        assert (await outcome(manager, python(_GREEDY, 64 * MIB, limits=limits))).code == 0
        assert (await outcome(manager, python(_GREEDY, 1024 * MIB, limits=Limits()))).code == 0


@pytest.mark.parametrize(("limits", "word"), [(Limits(processes=5), "processes"), (Limits(cpu=0.5), "cpu")])
async def test_what_cannot_be_limited_is_refused(mechanism: Mechanism, limits: Limits, word: str) -> None:
    """Before anything is started, with the name of the limit."""
    async with LocalProcessManager(containment=mechanism) as manager:
        containment = manager.containment
        if (containment.process_limit if word == "processes" else containment.cpu_limit) == "tree":
            pytest.skip("a controller keeps the limit")
        with pytest.raises(ContainmentUnavailable, match=f"limits: {word} cannot be limited by .*'{mechanism}'"):
            await manager.spawn_child(SpawnParams("/nonexistent", limits=limits))
        assert await manager.list_children() == []


async def test_memory_too_small_to_start_in(mechanism: Mechanism) -> None:
    """A root that cannot even be executed is an error or a death, never a hang, and nothing is left."""
    async with LocalProcessManager(containment=mechanism) as manager:
        try:
            ended = await outcome(manager, SpawnParams("true", limits=Limits(memory=4096)))
        except OSError:
            ended = None
        assert ended is None or ended.code != 0
        assert await manager.list_children() == []


# With controllers. They are only to be had in a cgroup that was delegated together with them.


def _kept(containment: Containment) -> list[str]:
    scopes = (containment.memory_limit, containment.process_limit, containment.cpu_limit)
    return [name for name, scope in zip(("memory", "pids", "cpu"), scopes, strict=True) if scope == "tree"]


def limited(name: str) -> list[object]:
    """Runs one of the functions below in a process that is alone in its cgroup; what that leaves in it is an error."""
    own = own_cgroup()
    before = _look(own)
    result = asyncio.run(globals()[name]())
    return [result, before, _look(own), own_cgroup() == own]


def _look(cgroup: Path) -> list[str]:
    below = sorted(entry.name for entry in cgroup.iterdir() if entry.is_dir())
    return [*below, (cgroup / "cgroup.subtree_control").read_text(), (cgroup / "cgroup.procs").read_text()]


def in_scope(name: str) -> object:
    """The result of one of the functions below, if it left its cgroup as it was."""
    result, before, after, same = in_a_scope(limited, name)
    assert after == before
    assert same
    return result


async def kept_limits() -> list[str]:
    async with LocalProcessManager(containment="cgroup") as manager:
        return _kept(manager.containment)


@pytest.fixture(scope="module")
def kept() -> list[str]:
    """The controllers that a delegated scope has here."""
    found = in_scope("kept_limits")
    assert isinstance(found, list)
    if not found:
        pytest.skip("this host delegates no controller")
    return found


def needs(kept: list[str], name: str) -> None:
    if name not in kept:
        pytest.skip(f"this host does not delegate the controller {name}")


async def exceed_memory() -> list[object]:
    async with LocalProcessManager(containment="cgroup") as manager:
        script = f"sleep 1000 & exec '{sys.executable}' -c '{_HUNGRY}' {256 * MIB}"
        child = await manager.spawn_child(SpawnParams("sh", ("-c", script), limits=Limits(memory=96 * MIB)))
        empty = await manager.wait_for_exit(child.pid, PATIENCE)
        ended = await manager.wait_for_root(child.pid)
        assert ended is not None
        within = await outcome(manager, python(_HUNGRY, 32 * MIB, limits=Limits(memory=96 * MIB)))
        return [empty, ended.signal, ended.oom_killed, within.code, within.oom_killed]


def test_tree_beyond_its_memory_is_killed_and_that_is_reported(kept: list[str]) -> None:
    """All of it at once; a tree within the limit is not."""
    needs(kept, "memory")
    assert in_scope("exceed_memory") == [True, 9, True, 0, False]


async def exceed_processes() -> list[object]:
    async with LocalProcessManager(containment="cgroup") as manager:
        found = []
        for limits in (Limits(processes=10), Limits()):
            read, write = os.pipe()
            with os.fdopen(read) as output:
                child = await manager.spawn_child(python(_FORKING, 20, limits=limits, stdout=write))
                os.close(write)
                await manager.wait_for_root(child.pid, PATIENCE)
                found.append(int(output.readline()))
                await manager.kill_tree(child.pid)
                await manager.wait_for_exit(child.pid, PATIENCE)
        return [*found]


def test_tree_has_no_more_processes_than_it_may(kept: list[str]) -> None:
    """The root counts; without a limit all are there."""
    needs(kept, "pids")
    assert in_scope("exceed_processes") == [9, 20]


async def exceed_cpu() -> list[object]:
    burning = "import time\nt, c = time.monotonic(), time.process_time()\nwhile time.process_time() - c < 0.4: pass\n"
    judged = f"{burning}print(time.monotonic() - t >= 0.4 / 0.2 * 0.7)"
    async with LocalProcessManager(containment="cgroup") as manager:
        read, write = os.pipe()
        with os.fdopen(read) as output:
            child = await manager.spawn_child(python(judged, limits=Limits(cpu=0.2), stdout=write))
            os.close(write)
            await manager.wait_for_exit(child.pid, PATIENCE)
            return [output.readline().strip()]


def test_tree_gets_its_share_of_cpu_time(kept: list[str]) -> None:
    """Work that takes 0.4 s of CPU time takes at least 0.7 of the 2 s that a fifth of a CPU makes of it."""
    needs(kept, "cpu")
    assert in_scope("exceed_cpu") == ["True"]


async def two_managers() -> list[object]:
    async with LocalProcessManager(containment="cgroup") as one:
        first = await one.spawn_child(SpawnParams("sleep", ("1000",), limits=Limits(processes=5)))
        async with LocalProcessManager(containment="cgroup") as two:
            second = await two.spawn_child(SpawnParams("sleep", ("1000",), limits=Limits(processes=6)))
            found = [_read(child.os_pid, "pids.max") for child in (first, second)]
        found.append(_read(first.os_pid, "pids.max"))
        third = await one.spawn_child(SpawnParams("sleep", ("1000",), limits=Limits(processes=7)))
        found.append(_read(third.os_pid, "pids.max"))
        unlimited = await one.spawn_child(SpawnParams("sleep", ("1000",)))
        return [*found, _read(unlimited.os_pid, "pids.max")]


def _read(pid: int, name: str) -> str:
    line = next(line for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines() if line.startswith("0::"))
    mine = next(line for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::"))
    leaf = own_cgroup() / os.path.relpath(line[3:], str(Path(mine[3:]).parent))
    assert look(pid) is not None
    return (leaf / name).read_text().strip()


def test_two_managers_of_a_process(kept: list[str]) -> None:
    """Each has its leaves; the first that is left takes nothing away from the other."""
    needs(kept, "pids")
    assert in_scope("two_managers") == ["5", "6", "5", "7", "max"]


def as_one_of_two() -> list[str]:
    """With another process in the cgroup, the supervisor must not step aside."""
    return asyncio.run(kept_limits())


def test_control_who_is_not_alone_stays_where_it_is() -> None:
    """Beside others in its cgroup a supervisor has no controllers to give, and says so; on no account it moves them."""
    if not (own_cgroup() / "cgroup.type").exists():
        pytest.skip("the root cgroup divides its resources with processes in it")
    before = Path("/proc/self/cgroup").read_text()
    assert run_apart(as_one_of_two) == []
    assert Path("/proc/self/cgroup").read_text() == before


async def test_limit_below_what_a_guard_needs_is_an_error_of_the_limit(programs: Programs) -> None:
    """Not of the installation, which is whole."""
    async with LocalProcessManager(containment="subreaper") as manager:
        with pytest.raises(SpawnError) as raised:
            await manager.spawn_child(SpawnParams(programs.tiny, limits=Limits(memory=1 << 16)))
        assert (raised.value.step, raised.value.errno) == ("limit", errno.ENOMEM)
        child = await manager.spawn_child(SpawnParams(programs.tiny))
        await manager.kill_tree(child.pid)
        assert await manager.wait_for_exit(child.pid, PATIENCE)
