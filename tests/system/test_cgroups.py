"""The cgroup mechanism: where the leaves are, and that none is left."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from treeguard import LocalProcessManager, SpawnParams, _native
from treeguard.cgroups import own_cgroup

from ..support.adoption import Adoption
from ..support.apart import run_apart
from ..support.judge import look
from ..support.mechanisms import CONTAINING
from ..support.patience import PATIENCE, until, wait_until

pytestmark = pytest.mark.skipif("cgroup" not in CONTAINING, reason="no cgroup may be made here")

_NESTED = """
import asyncio, sys
from treeguard import LocalProcessManager, SpawnParams

async def main(level):
    async with LocalProcessManager(containment="cgroup") as manager:
        if level:
            params = SpawnParams(sys.executable, ("-c", sys.argv[1], sys.argv[1], str(level - 1)))
        else:
            params = SpawnParams("sh", ("-c", "setsid sleep 1000 & exec sleep 1000"))
        child = await manager.spawn_child(params)
        print(child.os_pid, flush=True)
        await manager.wait_for_exit(child.pid)

asyncio.run(main(int(sys.argv[2])))
"""


def managers(parent: Path | None = None) -> set[Path]:
    """The cgroups of managers beside each other."""
    return set((parent or own_cgroup()).glob("treeguard.*"))


def cgroup_of(pid: int) -> Path:
    """A process's cgroup."""
    line = next(line for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines() if line.startswith("0::"))
    own = next(line for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::"))
    return own_cgroup() / os.path.relpath(line[3:], own[3:])


def gone(pid: int) -> bool:
    return look(pid) is None


async def test_tree_lives_in_a_leaf_of_its_manager() -> None:
    """A root is born in a leaf; leaf and manager's cgroup are gone with the tree and the manager."""
    before = managers()
    async with LocalProcessManager(containment="cgroup") as manager:
        child = await manager.spawn_child(SpawnParams("sleep", ("1000",)))
        leaf = cgroup_of(child.os_pid)
        assert leaf.parent in managers() - before
        assert (leaf / "cgroup.procs").read_text().split() == [str(child.os_pid)]
        await manager.kill_tree(child.pid)
        assert await manager.wait_for_exit(child.pid, PATIENCE)
        assert not leaf.exists()
    assert not leaf.parent.exists()


async def test_failed_spawn_leaves_no_leaf() -> None:
    """A leaf that was made for a program that cannot be executed is removed."""
    async with LocalProcessManager(containment="cgroup") as manager:
        child = await manager.spawn_child(SpawnParams("sleep", ("1000",)))
        mine = cgroup_of(child.os_pid).parent
        with pytest.raises(FileNotFoundError):
            await manager.spawn_child(SpawnParams("/nonexistent"))
        assert len([entry for entry in mine.iterdir() if entry.is_dir()]) == 1


async def test_process_that_moved_out_is_ended() -> None:
    """Leaving the cgroup is no escape: the guard sweeps what descends from it, wherever it is."""
    async with LocalProcessManager(containment="cgroup") as manager:
        script = f"setsid sh -c 'echo $$ > {own_cgroup()}/cgroup.procs; echo $$; exec sleep 1000' & exec sleep 1000"
        read, write = os.pipe()
        with os.fdopen(read) as output:
            child = await manager.spawn_child(SpawnParams("sh", ("-c", script), stdout=write))
            os.close(write)
            moved = int(output.readline())
        assert cgroup_of(moved) == own_cgroup()
        await manager.kill_tree(child.pid)
        assert await manager.wait_for_exit(child.pid, PATIENCE)
        assert gone(moved)


async def test_process_that_was_moved_in_is_waited_for_and_ended() -> None:
    """A stranger that somebody put into the leaf belongs to the tree: it is not empty before that one has ended."""
    async with LocalProcessManager(containment="cgroup") as manager:
        child = await manager.spawn_child(SpawnParams("sleep", ("1000",)))
        stranger = subprocess.Popen(["sleep", "1000"])
        (cgroup_of(child.os_pid) / "cgroup.procs").write_text(str(stranger.pid))
        os.kill(child.os_pid, signal.SIGKILL)
        assert await manager.wait_for_root(child.pid, PATIENCE) is not None
        assert not await manager.wait_for_exit(child.pid, 0.2)
        await manager.kill_tree(child.pid)
        assert await manager.wait_for_exit(child.pid, PATIENCE)
        assert stranger.wait() == -signal.SIGKILL


@contextlib.contextmanager
def nested(levels: int) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """Supervisors within each other's trees, and the roots of their trees, outermost first."""
    command = [sys.executable, "-c", _NESTED, _NESTED, str(levels - 1)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process, [int(process.stdout.readline()) for _ in range(levels)]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_supervisors_within_trees(level: int, adoption: Adoption) -> None:
    """Three levels deep, whichever supervisor is killed: all below it ends, and in the end no cgroup is left."""
    before = managers()
    with nested(3) as (process, roots):
        mine = managers() - before
        supervisors = [process.pid, *roots]
        os.kill(supervisors[level], signal.SIGKILL)
        for pid in supervisors[level + 1 :]:
            wait_until(lambda pid=pid: gone(pid), "all below has ended")  # type: ignore[misc]
    for pid in roots:
        wait_until(lambda pid=pid: gone(pid), "all has ended")  # type: ignore[misc]
    wait_until(lambda: not mine & managers(), "no cgroup is left")


async def test_leftovers_of_the_dead_are_swept(adoption: Adoption) -> None:
    """What a supervisor left that was killed with its guards is ended by the next manager, and no one else's."""
    bystander = own_cgroup() / "treeguard.somebody.else"
    bystander.mkdir()
    try:
        async with LocalProcessManager(containment="cgroup") as living:
            kept = await living.spawn_child(SpawnParams("sleep", ("1000",)))
            with nested(1) as (process, roots):
                guard = look(roots[0])
                assert guard is not None
                process.send_signal(signal.SIGSTOP)
                # By the owner in the name: other suites may run beside this one.
                left = {path for path in managers() if f".{process.pid}." in path.name}
                os.kill(guard.parent, signal.SIGSTOP)
                os.kill(process.pid, signal.SIGKILL)
                os.kill(guard.parent, signal.SIGKILL)
            assert left
            assert left <= managers()
            async with LocalProcessManager(containment="cgroup") as manager:
                await manager.list_children()
                assert not left & managers()
                await until(lambda: not left & managers(), "they are gone")
                assert look(kept.os_pid) is not None
                assert bystander.exists()
    finally:
        bystander.rmdir()


def as_ordinary_user(delegated: str, guard: str) -> str:
    """Moves into the delegated cgroup, drops all privileges, and runs a tree."""
    Path(delegated, "cgroup.procs").write_text("0")
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
    _native.GUARD = guard
    return asyncio.run(kill_an_escapee(delegated))


async def kill_an_escapee(delegated: str) -> str:
    async with LocalProcessManager() as manager:
        child = await manager.spawn_child(SpawnParams("sh", ("-c", "setsid sleep 1000 & exec sleep 1000")))
        line = Path(f"/proc/{child.os_pid}/cgroup").read_text().splitlines()[-1]
        assert f"/{Path(delegated).name}/treeguard." in line
        await manager.kill_tree(child.pid)
        assert await manager.wait_for_exit(child.pid, PATIENCE)
        return manager.containment.mechanism


@pytest.mark.skipif(os.geteuid() != 0, reason="delegating takes privileges")
def test_delegated_cgroup_serves_an_ordinary_user(tmp_path: Path) -> None:
    """Without privileges the mechanism is there where a cgroup was delegated, and picked by itself."""
    delegated = own_cgroup() / f"delegated-{uuid.uuid4().hex}"
    delegated.mkdir()
    for path in (delegated, delegated / "cgroup.procs", delegated / "cgroup.subtree_control"):
        os.chown(path, 65534, 65534)
    guard = tmp_path / "treeguard-guard"
    shutil.copy(_native.GUARD, guard)
    for directory in [tmp_path, *tmp_path.parents[:3]]:
        directory.chmod(directory.stat().st_mode | 0o055)
    try:
        assert run_apart(as_ordinary_user, str(delegated), str(guard)) == "cgroup"
        assert not managers(delegated)
    finally:
        delegated.rmdir()
