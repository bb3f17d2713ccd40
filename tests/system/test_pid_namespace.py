"""Trees in PID namespaces: what they see, what they cannot reach, and where they cannot be had."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from treeguard import ContainmentUnavailable, LocalProcessManager, SpawnParams
from treeguard._core import native
from treeguard._core.processes.namespaces import inner_number, is_ending, is_init
from treeguard.types import Mechanism

from ..support import inside
from ..support.adoption import Adoption
from ..support.apart import ROOT, command_of, run_apart, run_here
from ..support.judge import children, look
from ..support.mechanisms import CONTAINING, INSIDE
from ..support.ordinary import USERS, reachable
from ..support.patience import PATIENCE, until, wait_until
from ..support.programs import Programs

pytestmark = pytest.mark.skipif(not INSIDE, reason="no PID namespaces here")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="takes root")
PID_NAMESPACE: Final = "pid_namespace"
NO_CAPABILITIES = "0" * 16
#: The init, the root, and what it counts them with.
SEEN = "4"


def init_of(root: int) -> int:
    """The init of a root's namespace: another child of its guard."""
    seen = look(root)
    assert seen is not None
    return next(pid for pid in children(seen.parent) if is_init(pid))


def has_ended(pid: int) -> bool:
    """Whether it runs no more. An init waits until others have been reaped, which their new parent here does later."""
    seen = look(pid)
    return seen is None or seen.state == "Z" or is_ending(pid)


@pytest.fixture(scope="module")
def reached(programs: Programs) -> Iterator[Programs]:
    """A guard where every user can run it."""
    with reachable(programs) as copies:
        yield copies


# What a tree sees.


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("way", ["containment", "isolation"])
def test_it_sees_itself_alone(reached: Programs, user: str, way: str) -> None:
    """A small number of its own, its user, no capabilities, and init besides: for every user, in both ways."""
    containment, isolation = (PID_NAMESPACE, None) if way == "containment" else (CONTAINING[-1], PID_NAMESPACE)
    told = run_apart(inside.answers, native.GUARD, USERS[user], {}, containment, isolation)
    assert told == ["2", str(USERS[user]), NO_CAPABILITIES, NO_CAPABILITIES, SEEN, "treeguard-init"]


@as_root
def test_root_gives_a_tree_another_user(reached: Programs) -> None:
    """A named user is the only one that the tree has."""
    uid = USERS["ordinary"]
    options = {"user": uid, "group": uid, "extra_groups": []}
    told = run_apart(inside.answers, native.GUARD, 0, options, PID_NAMESPACE, None)
    assert told == ["2", str(uid), NO_CAPABILITIES, NO_CAPABILITIES, SEEN, "treeguard-init"]


@as_root
async def test_a_privileged_tree_is_said_to_be_one() -> None:
    """The containment of root's trees says that they are privileged, and that of others does not."""
    assert LocalProcessManager(containment=PID_NAMESPACE).containment.privileged is True
    assert LocalProcessManager(containment="subreaper").containment.privileged is None


async def test_numbers_are_those_outside(tmp_path: Path, adoption: Adoption) -> None:
    """Handles, events and members have the numbers that this process sees, and the init is no member."""
    async with LocalProcessManager(containment=PID_NAMESPACE) as manager:
        tree = await manager.spawn("sh", "-c", "setsid sleep 1000 & exec sleep 1000")
        await until(lambda: len(children(init_of(tree.pid))) + len(children(tree.pid)) == 1, "there is an orphan")
        members = await tree.members()
        assert len(members) == 2
        assert tree.pid in members
        assert init_of(tree.pid) not in members
        assert [inner_number(pid) for pid in sorted(members)] == [2, 3]
        assert inner_number(os.getpid()) == 0


async def test_the_roots_end_is_told_as_without(adoption: Adoption) -> None:
    """Exit codes, signals and times are the root's, also if the kernel ended it with its init."""
    async with LocalProcessManager(containment=PID_NAMESPACE) as manager:
        for script, code, number in (("exit 7", 7, None), ("kill -TERM $$", None, signal.SIGTERM)):
            tree = await manager.spawn("sh", "-c", script)
            assert await tree.wait_empty(PATIENCE)
            assert tree.exit is not None
            assert (tree.exit.code, tree.exit.signal) == (code, number)
        burning = await manager.spawn(sys.executable, "-Sc", "while True: pass")
        await until(lambda: inner_number(burning.pid) == 2, "it runs")
        os.kill(init_of(burning.pid), signal.SIGKILL)
        assert await burning.wait_empty(PATIENCE)
        assert burning.exit is not None
        assert burning.exit.signal == signal.SIGKILL
        assert burning.exit.usage.max_rss > 0


# What it cannot reach.


async def test_neither_guard_nor_supervisor_has_a_number(adoption: Adoption) -> None:
    """No call that takes a process's number hits guard or supervisor; only the first numbers are anybody's."""
    command = command_of(inside.what_works_on, [os.getpid(), os.getppid()])
    async with LocalProcessManager(containment=PID_NAMESPACE) as manager:
        tree = await manager.spawn(*command, cwd=ROOT, stdout="pipe")
        out, _ = await asyncio.wait_for(tree.communicate(), PATIENCE)
    found = json.loads(out or b"")
    assert found[:2] == [["signal 0", 1], ["signal 0", 2]]
    # What the attacks themselves have left.
    assert all(name == "signal 0" and pid < 100 for name, pid in found), found


@pytest.mark.parametrize(
    "attack",
    ["kill -STOP 1", "kill -KILL 1", "cat /proc/1/environ", "readlink /proc/1/fd/0 /proc/1/fd/1", "cat /proc/1/mem"],
)
async def test_the_init_is_out_of_reach(attack: str, adoption: Adoption) -> None:
    """Signals have no effect on it, and nothing can be read of it."""
    async with LocalProcessManager(containment=PID_NAMESPACE) as manager:
        tree = await manager.spawn("sh", "-c", f"{attack} | grep . ; kill -0 1 && cat /proc/1/stat", stdout="pipe")
        out, _ = await asyncio.wait_for(tree.communicate(), PATIENCE)
    assert re.match(rb"1 \(treeguard-init\) [RS]", out or b""), out


# Its end.


@pytest.mark.parametrize("victim", ["guard", "init", "supervisor", "all"])
def test_whoever_is_killed_takes_the_tree_along(victim: str, adoption: Adoption) -> None:
    """An escapee without a mark, deaf and in a session of its own, ends with the guard, the init and the supervisor."""
    script = "trap '' TERM HUP; env -i setsid sleep 1000 & echo $!; exec sleep 1000"
    code = (
        "import asyncio, treeguard\n"
        "async def main():\n"
        f"    async with treeguard.LocalProcessManager(containment={PID_NAMESPACE!r}) as manager:\n"
        f"        tree = await manager.spawn('sh', '-c', {script!r})\n"
        "        print(tree.pid, flush=True)\n"
        "        await tree.wait_empty()\n"
        "        print('empty', flush=True)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        told = [int(supervisor.stdout.readline()) for _ in range(2)]
        root = max(told)
        seen = look(root)
        assert seen is not None
        init = init_of(root)
        wait_until(lambda: len(children(init)) + len(children(root)) == 1, "there is an escapee")
        tree = [root, init, *children(init), *children(root)]
        victims = {"guard": [seen.parent], "init": [init], "supervisor": [supervisor.pid]}
        for pid in victims.get(victim, [seen.parent, init, supervisor.pid]):
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: all(map(has_ended, tree)), "all have ended")
        if victim in ("guard", "init"):
            assert supervisor.stdout.readline() == "empty\n"


async def test_a_stopped_init_goes_on(adoption: Adoption) -> None:
    """From outside an init can be stopped; its guard lets it go on, so the tree's end is told."""
    async with LocalProcessManager(containment=PID_NAMESPACE) as manager:
        tree = await manager.spawn("sh", "-c", "sleep 0.2 & exec sleep 0.1")
        os.kill(init_of(tree.pid), signal.SIGSTOP)
        assert await tree.wait_empty(PATIENCE)


@as_root
async def test_a_process_that_joined_delays_the_end_and_is_named(adoption: Adoption) -> None:
    """A process from outside counts as long as it is there; a kill ends it, and its parent has to reap it."""
    async with LocalProcessManager(containment=PID_NAMESPACE) as manager:
        tree = await manager.spawn("sleep", "1000")
        joined = subprocess.Popen(["nsenter", "-t", str(init_of(tree.pid)), "-p", "-U", "-m", "sh", "-c", "sleep 1000"])
        await until(lambda: any(inner_number(pid) for pid in children(joined.pid)), "it has joined")
        os.kill(tree.pid, signal.SIGTERM)
        await asyncio.wait_for(tree.wait(), PATIENCE)
        assert not await tree.wait_empty(0.5)
        await asyncio.to_thread(tree.kill)
        joined.wait()
        assert await tree.wait_empty(PATIENCE)


@pytest.mark.skipif(shutil.which("nsenter") is None, reason="no nsenter")
@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("mechanism", ["subreaper", PID_NAMESPACE])
def test_who_joined_is_a_member_and_a_survivor(reached: Programs, mechanism: Mechanism, user: str) -> None:
    """A process from outside is a member of its tree alone; dead, it is named with the parent that has to reap it."""
    told = run_apart(inside.named_when_joined, native.GUARD, USERS[user], mechanism)
    # Root sees an init's namespace; the kernel tells others who the init of a namespace is.
    alone = user == "root" or tuple(map(int, re.findall(r"\d+", os.uname().release)[:2])) >= (6, 11)
    assert told[:4] == [True, False, alone, True], told[4]


# Where it cannot be had.


@as_root
def test_a_chroot_is_told(reached: Programs) -> None:
    """The reason names the cause."""
    told = run_apart(inside.told_in_a_chroot, native.GUARD)
    assert told is not None
    assert "in a chroot" in told
    assert os.strerror(1) in told


@pytest.mark.parametrize("name", ["max_user_namespaces", "max_pid_namespaces"])
def test_a_limit_is_told_and_may_be_lifted(reached: Programs, name: str) -> None:
    """A limit of 0 is told with its name; what was refused once is tried again."""
    command = ["unshare", "--user", "--map-root-user", *command_of(inside.told_with_limit, native.GUARD, name)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = done.stdout
    assert f"user.{name}" in told
    assert os.strerror(28) in told


@as_root
def test_a_masked_proc_is_told(reached: Programs) -> None:
    """The kernel mounts no new /proc where parts of the old one are hidden. There is no falling back to that one."""
    masked = 'mount --bind /dev/null /proc/uptime && exec "$@"'
    code = "from treeguard._core.containment.pid_namespace import try_pid_namespace as t; print(t())"
    command = ["unshare", "--mount", "sh", "-c", masked, "sh", sys.executable, "-c", code]
    done = run_here(command)
    assert "parts of /proc are hidden" in done.stdout


async def test_no_guard_no_namespace() -> None:
    """A child of a manager without guards is refused, before anything is started."""
    async with LocalProcessManager(containment="process_group") as manager:
        with pytest.raises(ContainmentUnavailable, match="it needs a guard"):
            await manager.spawn_child(SpawnParams("true", isolation=PID_NAMESPACE))
