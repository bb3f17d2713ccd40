"""cgroups that others write in: whoever may write below a manager's cgroup can do there what it likes."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import os
import resource
import shutil
import signal
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from treeguard import ChildHandle, GuardLost, LocalProcessManager, SpawnError, SpawnParams
from treeguard._core import native
from treeguard._core.cgroup import emptying
from treeguard._core.cgroup.cgroupfs import write
from treeguard._core.cgroup.cgroups import ManagerCgroup, own_cgroup
from treeguard._core.cgroup.leftovers import sweep
from treeguard._core.native import NativeEngine, Spec

from ..support.adoption import Adoption
from ..support.adversary import Adversary
from ..support.apart import run_apart
from ..support.belongings import sleeping
from ..support.judge import descriptors, look
from ..support.mechanisms import CONTAINING
from ..support.patience import PATIENCE, wait_until
from ..support.programs import Programs
from ..support.supervised import Supervised

pytestmark = pytest.mark.skipif("cgroup" not in CONTAINING, reason="no cgroup may be made here")

#: Deeper than a guard once looked, and wider than what one read of a directory tells.
_DEPTH, _WIDTH = 100, 60
#: How often the supervisor is moved into a leaf while that is being killed.
_MOVES = 80


def leaf_of(child: ChildHandle) -> Path:
    """The leaf of a tree whose root has not left it."""
    line = Path(f"/proc/{child.os_pid}/cgroup").read_text().splitlines()[-1]
    manager, tag = line.split("/")[-2:]
    return own_cgroup() / manager / tag


def dig(top: Path, depth: int = _DEPTH) -> Path:
    """Makes cgroups within each other. Returns the deepest."""
    for _ in range(depth):
        top = top / "x"
        top.mkdir()
    return top


@pytest.fixture
def aside() -> Iterator[Path]:
    """A cgroup of the test's own, where managers of other suites do not come by."""
    directory = own_cgroup() / f"aside-{uuid.uuid4().hex}"
    directory.mkdir()
    yield directory
    for path, _, _ in sorted(os.walk(directory), reverse=True):
        wait_until(lambda path=path: removed(Path(path)), f"{path} is removed")  # type: ignore[misc]


def removed(path: Path) -> bool:
    """Removes a cgroup; whether it is gone."""
    with contextlib.suppress(OSError):
        path.rmdir()
    return not path.exists()


def swept(parent: Path) -> bool:
    """Sweeps, as a manager does that begins; whether nothing of the dead is left."""
    sweep(parent)
    return not any(parent.glob("treeguard.*"))


def dead_owners(parent: Path) -> Path:
    """The cgroup of a manager that has ended."""
    left = parent / f"treeguard.{os.stat('/proc/self/ns/pid').st_ino}.{os.getpid()}.1.0"  # noqa: PTH116
    left.mkdir()
    return left


# What is below a leaf.


async def test_stranger_far_below_the_leaf_is_killed_by_its_guard() -> None:
    """However deep, and beside how many, what the kill as a whole has left is found, and all is removed."""
    async with LocalProcessManager(containment="cgroup") as manager:
        child = await manager.spawn_child(SpawnParams("sleep", ("1000",)))
        leaf = leaf_of(child)
        for number in range(_WIDTH):
            (leaf / f"wide-{number}" / "in").mkdir(parents=True)
        with sleeping() as stranger:
            write(dig(leaf) / "cgroup.procs", str(stranger.pid))
            await manager.kill_tree(child.pid)
            assert await manager.wait_for_exit(child.pid, PATIENCE)
            assert stranger.wait() == -signal.SIGKILL
        assert not leaf.exists()


async def test_names_that_begin_with_a_dot_hide_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The guard finds them by itself, in the time that it takes."""
    async with LocalProcessManager(containment="cgroup") as manager:
        child = await manager.spawn_child(SpawnParams("sleep", ("1000",)))
        leaf = leaf_of(child)
        (leaf / ".x" / "..y" / "...").mkdir(parents=True)
        with sleeping() as stranger:
            write(leaf / ".x" / "..y" / "cgroup.procs", str(stranger.pid))
            await manager.kill_tree(child.pid)
            assert await manager.wait_for_exit(child.pid, PATIENCE)
            assert stranger.wait() == -signal.SIGKILL
        assert not leaf.exists()
    assert not caplog.records


async def test_tree_that_ends_by_itself_leaves_no_cgroup_however_deep() -> None:
    """Then no process is killed, and the cgroups are empty."""
    async with LocalProcessManager(containment="cgroup") as manager:
        child = await manager.spawn_child(SpawnParams("sleep", ("1000",)))
        leaf = leaf_of(child)
        dig(leaf)
        os.kill(child.os_pid, signal.SIGTERM)
        assert await manager.wait_for_exit(child.pid, PATIENCE)
        assert not leaf.exists()


@pytest.mark.parametrize("adversary", ["daemon"], indirect=True)
def test_guard_that_may_open_nothing_ends_with_its_supervisor(
    adversary: Adversary, aside: Path, adoption: Adoption
) -> None:
    """It cannot list what is below the leaf any more. The tree and it end, and the next manager removes the rest."""
    there = ("sh", "-c", f'echo $$ >{aside}/cgroup.procs && exec "$@"', "sh")
    with Supervised([adversary], containment="cgroup", end="SIGKILL", under=there) as supervisor:
        (root,) = supervisor.roots
        (leaf,) = aside.glob("treeguard.*/*/")
        dig(leaf, 3)
        guard = parent_of(root)
        resource.prlimit(guard, resource.RLIMIT_NOFILE, (0, 0))
        supervisor.go()
        assert supervisor.wait() == -signal.SIGKILL
        adversary.wait_gone()
        wait_until(lambda: has_ended(guard), "the guard has ended")
    adoption.reap_all()
    wait_until(lambda: swept(aside), "the cgroups are removed")


def parent_of(pid: int) -> int:
    """Of a process that lives."""
    seen = look(pid)
    assert seen is not None
    return seen.parent


def has_ended(pid: int) -> bool:
    """Whether it is gone, or waits for its parent to hear of its end."""
    seen = look(pid)
    return seen is None or seen.state == "Z"


def test_leftovers_far_below_are_swept(aside: Path) -> None:
    """By the next manager."""
    left = dead_owners(aside)
    with sleeping() as stranger:
        write(dig(left) / "cgroup.procs", str(stranger.pid))
        wait_until(lambda: swept(aside), "it is gone")
        assert not left.exists()
        assert stranger.wait() == -signal.SIGKILL


@pytest.mark.parametrize("adversary", ["husk"], indirect=True)
async def test_stranger_whose_main_thread_has_ended_is_killed(adversary: Adversary, adoption: Adoption) -> None:
    """The kernel's kill of a whole cgroup does not hit it, and its list of processes leaves it out."""
    other = subprocess.Popen(adversary.argv, pass_fds=[adversary.report_fd], process_group=0)
    async with LocalProcessManager(containment="cgroup") as manager:
        child = await manager.spawn_child(SpawnParams("sleep", ("1000",)))
        await adversary.ready()
        write(leaf_of(child) / "cgroup.procs", str(other.pid))
        assert await manager.members(child.pid) == (child.os_pid, other.pid)
        await manager.kill_tree(child.pid)
        assert await manager.wait_for_exit(child.pid, PATIENCE)
        assert other.wait() == -signal.SIGKILL


# The supervisor in a leaf.


def put_into_a_leaf(which: str, how: str) -> bool:
    """Writes the number of supervisor or guard into a leaf, ends the tree; whether all went as if it had not been."""
    logging.disable()  # of a lost guard it is told
    return asyncio.run(_put_into_a_leaf(which, how))


async def _put_into_a_leaf(which: str, how: str) -> bool:
    async with LocalProcessManager(containment="cgroup") as manager:
        before = descriptors()
        child = await manager.spawn_child(SpawnParams("sleep", ("1000",)))
        lifelines = [fd for fd, what in descriptors().items() - before.items() if what.startswith("socket:")]
        leaf = leaf_of(child)
        own = Path("/proc/self/cgroup").read_text()
        below = leaf / "below"
        below.mkdir()
        guard = look(child.os_pid)
        assert guard is not None
        write(below / "cgroup.procs", str(os.getpid() if which == "supervisor" else guard.parent))
        if how == "end":
            os.kill(child.os_pid, signal.SIGTERM)
        elif how == "freeze":
            await manager.freeze(child.pid)
        elif how == "lose":
            os.kill(guard.parent, signal.SIGKILL)
        elif how == "hang_up":
            with socket.socket(fileno=os.dup(lifelines[0])) as lifeline:
                lifeline.shutdown(socket.SHUT_RDWR)
        if how in ("kill", "freeze"):
            await manager.kill_tree(child.pid)
        assert await manager.wait_for_exit(child.pid, PATIENCE)
        assert not leaf.exists()
        return Path("/proc/self/cgroup").read_text() == own


@pytest.mark.parametrize("how", ["kill", "end", "freeze", "lose", "hang_up"])
def test_supervisor_that_was_put_into_a_leaf_lives(how: str) -> None:
    """It is neither killed with the tree nor frozen, and stands where it stood."""
    assert run_apart(put_into_a_leaf, "supervisor", how)


def hurry(pid: int) -> None:
    """Lets nothing come between a guard's look and its kill: a move that begins there is not waited for."""
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(pid, os.SCHED_FIFO, os.sched_param(1))


def put_in_meanwhile(how: str) -> bool:
    """Writes the supervisor's number into leaves while their trees are being killed."""
    logging.disable()
    return asyncio.run(_put_in_meanwhile(how))


async def _put_in_meanwhile(how: str) -> bool:
    own = own_cgroup()
    async with LocalProcessManager(containment="cgroup") as manager:
        for number in range(_MOVES):
            child = await manager.spawn_child(SpawnParams("sleep", ("1000",)))
            guard = look(child.os_pid)
            assert guard is not None
            hurry(guard.parent)
            moving = threading.Thread(target=_move_here, args=(leaf_of(child),))
            moving.start()
            # A move takes some milliseconds: the kill comes at another moment of it each time.
            await asyncio.sleep(number % 4 / 10000)
            if how == "lose":
                os.kill(guard.parent, signal.SIGKILL)
            await manager.kill_tree(child.pid)
            # Orphans of others, such as those of another test, may keep a lost tree from being proved empty.
            with contextlib.suppress(GuardLost):
                assert await manager.wait_for_exit(child.pid, PATIENCE)
            moving.join()
            write(own / "cgroup.procs", str(os.getpid()))
    return True


def _move_here(cgroup: Path) -> None:
    with contextlib.suppress(OSError):
        write(cgroup / "cgroup.procs", str(os.getpid()))


# On a busy host a move may begin between the look and the kill, which docs/threats.md admits (I): not for every run.
@pytest.mark.stress
@pytest.mark.parametrize("how", ["kill", "lose"])
def test_supervisor_that_is_put_into_a_leaf_during_the_kill_lives(how: str) -> None:
    """The look for processes that must live waits for a move into the leaf that is under way."""
    assert run_apart(put_in_meanwhile, how)


@pytest.mark.parametrize("how", ["kill", "end"])
def test_guard_that_was_put_into_its_leaf_does_its_work(how: str) -> None:
    """It does not kill itself before its work is done."""
    assert run_apart(put_into_a_leaf, "guard", how)


# The manager's own cgroup.


def lock(manager: Path) -> None:
    manager.chmod(0o555)


def forbid_any(manager: Path) -> None:
    write(manager / "cgroup.max.descendants", "0")


def forbid_depth(manager: Path) -> None:
    write(manager / "cgroup.max.depth", "0")


def freeze(manager: Path) -> None:
    write(manager / "cgroup.freeze", "1")


def occupy(manager: Path) -> None:
    for number in range(20):
        (manager / str(number)).mkdir(exist_ok=True)


@pytest.mark.parametrize("harm", [lock, forbid_any, forbid_depth, freeze, occupy])
async def test_harm_to_the_managers_cgroup_is_mended(harm: Callable[[Path], None]) -> None:
    """Later spawns are as they would have been, and their trees are ended."""
    async with LocalProcessManager(containment="cgroup") as manager:
        first = await manager.spawn_child(SpawnParams("true"))
        assert await manager.wait_for_exit(first.pid, PATIENCE)
        (mine,) = own_cgroup().glob(f"treeguard.*.{os.getpid()}.*")
        harm(mine)
        child = await asyncio.wait_for(manager.spawn_child(SpawnParams("sleep", ("1000",))), PATIENCE)
        assert leaf_of(child).parent == mine
        await manager.kill_tree(child.pid)
        assert await manager.wait_for_exit(child.pid, PATIENCE)
        for path in mine.iterdir():
            if path.is_dir():
                path.rmdir()


def harm_as_ordinary_user(delegated: str, guard: str) -> None:
    """Without privileges a mode counts. Moves into the delegated cgroup, and ends a tree that has locked everything."""
    write(Path(delegated, "cgroup.procs"), "0")
    # For the threads of a loop: an interpreter that is root's cannot be read afterwards.
    importlib.import_module("concurrent.futures.thread")
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
    native.GUARD = guard
    logging.disable()
    asyncio.run(_end_what_is_locked(Path(delegated)))


def lock_all(manager: Path, *cgroups: Path) -> None:
    """Locks cgroups, the deepest last, and what is in them."""
    for path in reversed(cgroups):
        for file in ("cgroup.kill", "cgroup.procs", "cgroup.threads", "cgroup.freeze", "cgroup.events"):
            (path / file).chmod(0)
        path.chmod(0)
    lock(manager)


async def _end_what_is_locked(delegated: Path) -> None:
    async with LocalProcessManager(containment="cgroup") as manager:
        first = await manager.spawn_child(SpawnParams("sleep", ("1000",)))
        (mine,) = delegated.glob("treeguard.*")
        lock(mine)
        second = await asyncio.wait_for(manager.spawn_child(SpawnParams("sleep", ("1000",))), PATIENCE)
        for child, loses_guard in ((first, False), (second, True)):
            leaf = mine / str(leaf_of(child).name)
            deepest = dig(leaf, 3)
            with sleeping() as stranger:
                write(deepest / "cgroup.procs", str(stranger.pid))
                lock_all(mine, leaf, deepest.parent, deepest)
                if not loses_guard:
                    await manager.freeze(child.pid, timeout=PATIENCE)
                    await manager.thaw(child.pid)
                    lock_all(mine, leaf)
                if loses_guard:
                    seen = look(child.os_pid)
                    assert seen is not None
                    os.kill(seen.parent, signal.SIGKILL)
                else:
                    await manager.kill_tree(child.pid)
                # Orphans of others, such as those of another test, may keep a lost tree from being proved empty.
                with contextlib.suppress(*[GuardLost] if loses_guard else []):
                    assert await manager.wait_for_exit(child.pid, PATIENCE)
                assert stranger.wait() == -signal.SIGKILL
            assert not leaf.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="delegating takes privileges")
def test_modes_keep_no_owner_out(aside: Path, tmp_path: Path) -> None:
    """Directories and files of cgroups that were locked by their modes, as any process of the same user can."""
    if not all(parent.stat().st_mode & 0o001 for parent in Path(native.GUARD).parents):
        pytest.skip("an ordinary user cannot enter the checkout")
    for path in (aside, aside / "cgroup.procs", aside / "cgroup.subtree_control"):
        os.chown(path, 65534, 65534)
    guard = tmp_path / "treeguard-guard"
    shutil.copy(native.GUARD, guard)
    for directory in [tmp_path, *tmp_path.parents[:-2]]:
        directory.chmod(directory.stat().st_mode | 0o055)
    run_apart(harm_as_ordinary_user, str(aside), str(guard))


def remove(manager: Path) -> str:
    manager.rmdir()
    return f"there is no {manager}"


def make_threaded(manager: Path) -> str:
    write(manager / "cgroup.type", "threaded")
    return f"{manager / 'cgroup.type'} says 'threaded'"


@pytest.mark.parametrize("harm", [remove, make_threaded])
async def test_harm_that_cannot_be_mended_is_named_and_worked_around(harm: Callable[[Path], str]) -> None:
    """One spawn fails with an error that names the file, and the next one gets another cgroup."""
    async with LocalProcessManager(containment="cgroup") as manager:
        first = await manager.spawn_child(SpawnParams("true"))
        assert await manager.wait_for_exit(first.pid, PATIENCE)
        (mine,) = own_cgroup().glob(f"treeguard.*.{os.getpid()}.*")
        try:
            words = harm(mine)
        except OSError as error:
            pytest.skip(f"that is not to be had here: {error}")
        with pytest.raises(SpawnError) as raised:
            await asyncio.wait_for(manager.spawn_child(SpawnParams("sleep", ("1000",))), PATIENCE)
        assert words in str(raised.value)
        child = await asyncio.wait_for(manager.spawn_child(SpawnParams("sleep", ("1000",))), PATIENCE)
        assert leaf_of(child).parent != mine
        assert not mine.exists()
    assert not list(own_cgroup().glob(f"treeguard.*.{os.getpid()}.*"))


def test_limit_above_is_named(aside: Path) -> None:
    """A manager does not lift what was set for more than itself."""
    write(aside / "cgroup.max.descendants", "0")
    with pytest.raises(OSError, match=r"cgroup\.max\.descendants says 0"):
        ManagerCgroup(aside)


@pytest.mark.parametrize("tag", [2**31 - 1, 2**31, 2**32 - 1, 2**32 + 7, 2**63 + 1])
def test_leaf_of_any_number_is_found(tag: int, aside: Path, programs: Programs) -> None:
    """The guard makes the one that the supervisor looks into."""
    manager = ManagerCgroup(aside)
    engine = NativeEngine()
    program = os.fsencode(programs.tiny)
    guard = os.fsencode(native.GUARD)
    spec = Spec(program, program + b"\0", 1, b"", 0, None, (-1, -1, -1), (), 0, -1, guard=guard, cgroup=manager.fd)
    try:
        tree = engine.spawn(spec, tag)
        wait_until(lambda: manager.leaf(tag).exists(), "the leaf is there")
        tree.kill()
        wait_until(
            lambda: native.EMPTY in {event.kind for event in (*engine.drain(), tree.poll()) if event}, "it is empty"
        )
        assert not manager.leaf(tag).exists()
        tree.free()
    finally:
        engine.close()
        manager.close()


# Names.


@pytest.mark.parametrize(
    "name",
    [
        *("treeguard-supervisor.x", "treeguard-supervisor.", "treeguard-supervisor.-1", "treeguard-supervisor.0"),
        *(f"treeguard-supervisor.{2**31}", f"treeguard-supervisor.{10**100}", "treeguard-supervisor.\u0661"),
        *("treeguard.x.y.z.0", f"treeguard.{{ns}}.{2**31}.1.0", f"treeguard.{{ns}}.{10**100}.1.0"),
        *(f"treeguard.{{ns}}.1.{10**100}.0", f"treeguard.{10**100}.1.1.0", "treeguard.{ns}.\u0661.1.0", "treeguard..."),
    ],
)
def test_name_that_no_manager_gave_harms_none(name: str, aside: Path) -> None:
    """A cgroup of such a name is nobody's that is known: it stays, and managers can be made beside it."""
    path = aside / name.format(ns=os.stat("/proc/self/ns/pid").st_ino)  # noqa: PTH116
    path.mkdir()
    sweep(aside)
    ManagerCgroup(aside).close()
    assert path.exists()


# What the dead have left does not keep a manager from its work.


def test_start_does_not_wait_for_what_cannot_be_emptied(aside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A manager is there at once; what is left is looked after beside it."""
    left = dead_owners(aside)
    monkeypatch.setattr(emptying, "empty", lambda *_: False)
    began = time.monotonic()
    manager = ManagerCgroup(aside)
    took = time.monotonic() - began
    manager.close()
    assert left.exists()
    assert took < 0.1
