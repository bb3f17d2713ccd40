"""The cgroup mechanism: where the leaves are, and that none is left."""

from __future__ import annotations

import asyncio
import errno
import os
import shlex
import shutil
import signal
import subprocess
import uuid
from pathlib import Path

import pytest

from treeguard import LocalProcessManager, SpawnParams
from treeguard._core import native
from treeguard._core.cgroup.cgroups import own_cgroup
from treeguard._core.cgroup.leftovers import sweep
from treeguard._core.processes import procfs

from ..support.adoption import Adoption
from ..support.adversary import Adversary
from ..support.apart import run_apart
from ..support.judge import children, look
from ..support.mechanisms import CONTAINING
from ..support.nested import Nested
from ..support.patience import PATIENCE, until
from ..support.programs import Programs

pytestmark = pytest.mark.skipif("cgroup" not in CONTAINING, reason="no cgroup may be made here")


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
        assert (leaf / "cgroup.kill").exists() == manager.containment.atomic_kill
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


@pytest.mark.parametrize("adversary", ["hydra"], indirect=True)
async def test_what_moved_out_and_forks_on_is_ended(adversary: Adversary, adoption: Adoption) -> None:
    """The guard looks for more of them while it reaps, though none of them is left in the leaf and they never pause."""
    async with LocalProcessManager(containment="cgroup") as manager:
        script = f"echo 0 > {own_cgroup()}/cgroup.procs; exec {shlex.join(adversary.argv)}"
        child = await manager.spawn_child(SpawnParams("sh", ("-c", script), pass_fds=(adversary.report_fd,)))
        await adversary.ready()
        assert cgroup_of(child.os_pid) == own_cgroup()
        await manager.kill_tree(child.pid)
        assert await manager.wait_for_exit(child.pid, PATIENCE)
        assert not adversary.traces


async def test_process_that_was_moved_in_is_waited_for_and_ended() -> None:
    """A process that was put into the leaf belongs to the tree, which is not empty before that process has ended."""
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


async def test_leftovers_of_the_dead_are_swept(programs: Programs, adoption: Adoption) -> None:
    """What a supervisor left that was killed with its guards is ended by the next manager, and no one else's."""
    bystander = own_cgroup() / "treeguard.somebody.else"
    bystander.mkdir()
    try:
        async with LocalProcessManager(containment="cgroup") as living:
            kept = await living.spawn_child(SpawnParams("sleep", ("1000",)))
            with Adversary(programs, "session") as adversary:
                # It was there: a manager of another suite may sweep it before this one does.
                left = kill_with_its_guard(adversary)
                async with LocalProcessManager(containment="cgroup") as manager:
                    await manager.list_children()
                    await until(lambda: not left & managers(), "what is left is swept")
                    adversary.wait_gone()
            assert look(kept.os_pid) is not None
            assert bystander.exists()
    finally:
        bystander.rmdir()


def kill_with_its_guard(adversary: Adversary) -> set[Path]:
    """Kills a supervisor together with the guard of its tree. Returns the cgroup that is left."""
    with Nested(["cgroup"], adversary) as nested:
        (supervisor,) = nested.supervisors
        (guard,) = children(supervisor)
        # By the owner in the name: other suites may run beside this one.
        left = {path for path in managers() if f".{supervisor}." in path.name}
        os.kill(supervisor, signal.SIGSTOP)
        os.kill(guard, signal.SIGSTOP)
        os.kill(supervisor, signal.SIGKILL)
        os.kill(guard, signal.SIGKILL)
    assert left
    return left


@pytest.mark.parametrize(("error", "swept"), [(errno.EMFILE, False), (errno.ENOMEM, False), (None, True)])
def test_owner_that_cannot_be_looked_at_is_not_taken_for_dead(
    error: int | None, swept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For want of descriptors or memory nothing is known of it; control: one that is known to be gone loses its own."""
    parent = own_cgroup() / f"mine-{uuid.uuid4().hex}"
    left = parent / f"treeguard.{os.stat('/proc/self/ns/pid').st_ino}.{os.getpid()}.1.0"  # noqa: PTH116
    left.mkdir(parents=True)

    def look(pid: int, name: str) -> bytes:
        raise OSError(error, "no look", f"{pid}/{name}")

    try:
        if error:
            monkeypatch.setattr(procfs, "read_file", look)
        sweep(parent)
        monkeypatch.undo()
        assert left.exists() == (not swept)
    finally:
        monkeypatch.undo()
        if left.exists():
            left.rmdir()
        parent.rmdir()


def as_ordinary_user(delegated: str, guard: str) -> str:
    """Moves into the delegated cgroup, drops all privileges, and runs a tree."""
    Path(delegated, "cgroup.procs").write_text("0")
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
    native.GUARD = guard
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
    shutil.copy(native.GUARD, guard)
    for directory in [tmp_path, *tmp_path.parents[:-2]]:
        directory.chmod(directory.stat().st_mode | 0o055)
    try:
        assert run_apart(as_ordinary_user, str(delegated), str(guard)) == "cgroup"
        assert not managers(delegated)
    finally:
        delegated.rmdir()
