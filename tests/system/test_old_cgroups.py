"""cgroups as they were before Linux 5.14, which cannot be killed in one step: by a file's name that no kernel has.

Of the kernel all else is as it is here: ``make test-kernels`` shows the same on one of that time.
"""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

import build_ffi
from treeguard import LocalProcessManager, SpawnParams
from treeguard._core import native
from treeguard._core.cgroup import cgroups, emptying, leftovers
from treeguard._core.cgroup.cgroupfs import write
from treeguard._core.cgroup.cgroups import own_cgroup
from treeguard._core.containment import backends

from ..support.adoption import Adoption
from ..support.adversary import Adversary
from ..support.belongings import sleeping
from ..support.judge import look
from ..support.mechanisms import CONTAINING
from ..support.patience import PATIENCE, wait_until

pytestmark = [
    pytest.mark.skipif("cgroup" not in CONTAINING, reason="no cgroup may be made here"),
    pytest.mark.skipif(shutil.which("cc") is None, reason="no compiler"),
    pytest.mark.usefixtures("old"),
]

_ABSENT = "cgroup.absent"

every_adversary = pytest.mark.parametrize(
    "adversary", ["family", "daemon", "wide", "stopped", "reaper", "husk", "hydra", "zoo"], indirect=True
)


@pytest.fixture(scope="module")
def old_guard(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A guard that knows no ``cgroup.kill``."""
    path = str(tmp_path_factory.mktemp("old") / "treeguard-guard")
    command = build_ffi.guard_command(["cc", f'-DTG_CGROUP_KILL="{_ABSENT}"'], platform.machine(), path)
    subprocess.run(command, cwd=Path(build_ffi.__file__).parent, check=True)
    return path


@pytest.fixture
def old(old_guard: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Makes library and guard see such a kernel."""
    monkeypatch.setattr(native, "GUARD", old_guard)
    for module in (cgroups, emptying):
        monkeypatch.setattr(module, "KILL", _ABSENT)
    backends._try_cgroup.cache_clear()
    yield
    backends._try_cgroup.cache_clear()


def test_control_absent_file_is_told_as_absent() -> None:
    """As a kernel tells it that has no such file."""
    with pytest.raises(FileNotFoundError):
        write(own_cgroup() / _ABSENT, "1")


def test_containment_says_so() -> None:
    """All but the one step is promised as ever."""
    containment = LocalProcessManager(containment="cgroup").containment
    assert not containment.atomic_kill
    assert containment.contains_escapees
    assert containment.outlives_guard


@every_adversary
async def test_killed_tree_is_gone(adversary: Adversary, adoption: Adoption) -> None:
    """Frozen, killed and reaped, however fast it forks."""
    async with LocalProcessManager(containment="cgroup") as manager:
        child = await manager.spawn_child(adversary.params())
        await adversary.ready()
        await manager.kill_tree(child.pid)
        assert await manager.wait_for_exit(child.pid, PATIENCE)
        assert not adoption.newcomers()
        assert not adversary.traces


@every_adversary
async def test_frozen_tree_is_killed(adversary: Adversary) -> None:
    """A tree that was frozen before needs no thaw."""
    async with LocalProcessManager(containment="cgroup") as manager:
        child = await manager.spawn_child(adversary.params())
        await adversary.ready()
        await manager.freeze(child.pid, timeout=PATIENCE)
        await manager.kill_tree(child.pid)
        assert await manager.wait_for_exit(child.pid, PATIENCE)
        assert not adversary.traces


@every_adversary
async def test_tree_that_lost_its_guard_is_ended(adversary: Adversary, adoption: Adoption) -> None:
    """The supervisor freezes and kills what is left, and proves it empty."""
    async with LocalProcessManager(containment="cgroup") as manager:
        child = await manager.spawn_child(adversary.params())
        await adversary.ready()
        root = look(child.os_pid)
        assert root is not None
        os.kill(root.parent, signal.SIGKILL)
        assert await manager.wait_for_exit(child.pid, PATIENCE)
        assert not adversary.traces


async def test_stranger_in_it_is_killed_too() -> None:
    """A process that was moved into the leaf is no child of the guard. Only the frozen cgroup shows it."""
    async with LocalProcessManager(containment="cgroup") as manager:
        child = await manager.spawn_child(SpawnParams("sleep", ("1000",)))
        with sleeping() as stranger:
            (leaf,) = (procs.parent for procs in _lists() if str(child.os_pid) in _read(procs))
            write(leaf / "cgroup.procs", str(stranger.pid))
            await manager.kill_tree(child.pid)
            assert await manager.wait_for_exit(child.pid, PATIENCE)
            assert stranger.wait() == -signal.SIGKILL
        assert not leaf.exists()


def _lists() -> Iterator[Path]:
    """The lists of processes of all leaves, also of the managers beside this one."""
    return own_cgroup().glob("treeguard.*/*/cgroup.procs")


def _read(procs: Path) -> list[str]:
    try:
        return procs.read_text().split()
    except OSError:  # somebody else's, removed meanwhile
        return []


def swept(parent: Path) -> bool:
    leftovers.sweep(parent)
    return not any(parent.glob("treeguard.*"))


def test_leftovers_of_the_dead_are_swept() -> None:
    """What a dead owner's cgroups hold is ended, in those within each other too."""
    # Aside, where managers of other suites do not come by.
    parent = own_cgroup() / f"old-{uuid.uuid4().hex}"
    left = parent / f"treeguard.{os.stat('/proc/self/ns/pid').st_ino}.{os.getpid()}.1.0"  # noqa: PTH116
    inner = left / "1" / "inner"
    inner.mkdir(parents=True)
    try:
        with sleeping() as one, sleeping() as two:
            write(left / "1" / "cgroup.procs", str(one.pid))
            write(inner / "cgroup.procs", str(two.pid))
            wait_until(lambda: swept(parent), "it is gone")
            assert [each.wait() for each in (one, two)] == [-signal.SIGKILL] * 2
    finally:
        parent.rmdir()
