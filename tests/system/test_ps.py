"""``treeguard ps`` and ``treeguard kill`` with real trees: what is shown is there, and what is killed is gone."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from treeguard import LocalProcessManager, SpawnParams
from treeguard._core import native
from treeguard.types import ChildHandle, Mechanism

from ..support.adoption import Adoption
from ..support.adversary import Adversary
from ..support.judge import look
from ..support.mechanisms import CONTAINING
from ..support.patience import PATIENCE

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="guards are shown on Linux only")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")

TREEGUARD = (sys.executable, "-m", "treeguard")
SLEEP = SpawnParams("sleep", ("1000",))
#: The command line as another user, who may not even be able to read this package.
AS_ANOTHER = """
import difflib, locale, os, pwd, sys
import treeguard._cli.felling, treeguard._cli.forest_table, treeguard._cli.kill, treeguard._cli.ps
from treeguard._cli.commands import main
treeguard._cli.forest.look()
os.setgroups([])
os.setresgid(*[{uid}] * 3)
os.setresuid(*[{uid}] * 3)
raise SystemExit(main(sys.argv[1:]))
"""
#: A process that looks like a guard as far as its name and its command line go, with a child.
PRETENDER = """
import ctypes, os, sys, time
title = b"treeguard-guard supervised root=%d          tree=1 mechanism=cgroup isolated=0 manager=0a parent=0 kind=fake"
pid = os.fork()
if pid == 0:
    time.sleep(60)
    os._exit(0)
libc = ctypes.CDLL(None)
libc.prctl(15, b"treeguard-guard")
start = int(open("/proc/self/stat").read().rpartition(")")[2].split()[45])
ctypes.memmove(start, title % pid + bytes(1), len(title % pid) + 1)
print("ready", flush=True)
time.sleep(60)
"""


async def ran(*arguments: str, status: int = 0, program: tuple[str, ...] = TREEGUARD) -> tuple[str, str]:
    """Runs the command line beside the loop: what it said."""
    process = await asyncio.create_subprocess_exec(
        *(*program, *arguments), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), 2 * PATIENCE)
    assert process.returncode == status, err.decode()
    return out.decode(), err.decode()


async def listed(*arguments: str, program: tuple[str, ...] = TREEGUARD) -> dict[int, dict[str, Any]]:
    """What ``treeguard ps --json`` shows, by guard."""
    out, err = await ran("ps", "--json", *arguments, program=program)
    assert err == ""
    return {tree["guard"]: tree for tree in json.loads(out)["trees"]}


def guard_of(child: ChildHandle) -> int:
    seen = look(child.os_pid)
    assert seen is not None
    return seen.parent


@pytest.fixture(params=CONTAINING)
def guarded(request: pytest.FixtureRequest) -> Mechanism:
    """Each mechanism that has a guard."""
    mechanism: Mechanism = request.param
    return mechanism


async def test_each_fact_of_a_tree(guarded: Mechanism) -> None:
    """Owner, kind, start, mechanism, root, members, memory and CPU time are those of the tree."""
    script = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; sleep 1000 & echo ready; wait"
    async with LocalProcessManager(containment=guarded) as manager:
        read, write = os.pipe()
        child = await manager.spawn_child(SpawnParams("sh", ("-c", script), kind="réseau 1", stdout=write))
        os.close(write)
        assert await asyncio.to_thread(os.read, read, 10) == b"ready\n"
        os.close(read)
        tree = (await listed())[guard_of(child)]
        members = await manager.members(child.pid)
        stats = await manager.stats(child.pid)
        begun = tree["age"]
        assert stats is not None
        assert (tree["kind"], tree["mechanism"], tree["state"]) == ("réseau 1", guarded, "supervised")
        assert (tree["uid"], tree["root"], tree["parent"]) == (os.geteuid(), child.os_pid, None)
        assert tree["owner"]["pid"] == os.getpid()
        assert Path(f"/proc/{os.getpid()}/cmdline").read_text().split("\0")[0] in tree["owner"]["command"]
        assert tuple(member["pid"] for member in tree["members"]) == members
        assert [member["name"] for member in tree["members"]] == ["sh", "sleep"]
        assert 0 <= begun < PATIENCE
        assert 0 < tree["cpu"] <= stats.user_time + stats.system_time
        assert stats.memory / 2 < tree["memory"] < stats.memory * 2
        out, _ = await ran("ps", "--members")
        assert f"{tree['guard']} réseau 1" in out
        assert f"{child.os_pid} sh" in out
    assert tree["guard"] not in await listed()


async def test_a_tree_that_is_being_ended_says_so(guarded: Mechanism) -> None:
    """Its guard does, as long as it lives."""
    async with LocalProcessManager(containment=guarded) as manager:
        child = await manager.spawn_child(SLEEP)
        guard = guard_of(child)
        before = (await listed())[guard]["state"]
        assert before == "supervised"
        title = Path(f"/proc/{guard}/cmdline")
        await manager.kill_tree(child.pid)
        seen = set()
        while title.exists() and (text := title.read_bytes()):
            seen.add(text.split()[1])
        assert seen <= {b"supervised", b"ending"}
        assert await manager.wait_for_exit(child.pid, PATIENCE)


async def test_trees_within_trees(guarded: Mechanism) -> None:
    """Below the tree that was named as the parent, and below the one that the supervisor is a member of."""
    async with LocalProcessManager(containment=guarded) as manager:
        outer = await manager.spawn_child(
            SpawnParams(sys.executable, ("-m", "treeguard", "run", "--", "sleep", "1000"))
        )
        named = await manager.spawn_child(SpawnParams("sleep", ("1000",), parent=outer.pid))
        ids = {}

        async def complete() -> bool:
            nonlocal ids
            ids = await listed()
            return any(tree["owner"]["pid"] == outer.os_pid for tree in ids.values())

        for _ in range(100):
            if await complete():
                break
        above = ids[guard_of(outer)]
        inner = next(tree for tree in ids.values() if tree["owner"]["pid"] == outer.os_pid)
        assert (above["parent"], inner["parent"], ids[guard_of(named)]["parent"]) == (None, above["id"], above["id"])
        assert inner["guard"] not in [member["pid"] for member in above["members"]]
        # Both go with it.
        await ran("kill", "--force", above["id"])
        assert await manager.wait_for_exit(outer.pid, PATIENCE)
        assert await manager.wait_for_exit(named.pid, PATIENCE)
        assert not Path(f"/proc/{inner['root']}").exists()


async def test_process_groups_are_not_listed() -> None:
    """There is no guard, and nobody says otherwise."""
    async with LocalProcessManager(containment="process_group") as manager:
        child = await manager.spawn_child(SLEEP)
        trees = await listed()
        assert child.os_pid not in [member["pid"] for tree in trees.values() for member in tree["members"]]
        _, err = await ran("kill", str(child.os_pid), status=1)
        assert "no such tree" in err
        assert look(child.os_pid) is not None


@pytest.mark.parametrize("adversary", ["daemon", "stopped", "deaf", "zoo", "hydra", "swarm"], indirect=True)
@pytest.mark.parametrize("how", [["--force"], ["--grace", "0.2"]], ids=["force", "grace"])
async def test_a_killed_tree_is_empty(
    guarded: Mechanism, adversary: Adversary, how: list[str], adoption: Adoption
) -> None:
    """Whatever it does, and its supervisor sees it end as usual."""
    async with LocalProcessManager(containment=guarded) as manager:
        other = await manager.spawn_child(SLEEP)
        child = await manager.spawn_child(adversary.params())
        await adversary.ready()
        guard = guard_of(child)
        await ran("kill", *how, str(guard))
        assert not adversary.traces
        assert await manager.wait_for_exit(child.pid, PATIENCE)
        assert look(other.os_pid) is not None


async def test_a_stopped_guard_is_no_obstacle(guarded: Mechanism) -> None:
    """It goes on, since it has to reap."""
    async with LocalProcessManager(containment=guarded) as manager:
        child = await manager.spawn_child(SpawnParams("sh", ("-c", "sleep 1000 & wait")))
        os.kill(guard_of(child), signal.SIGSTOP)
        await ran("kill", "--force", str(child.os_pid))
        assert await manager.wait_for_exit(child.pid, PATIENCE)


@pytest.mark.parametrize("by", ["guard", "id", "root"])
async def test_it_is_asked_first(guarded: Mechanism, by: str) -> None:
    """Every process of it, by the signal that was given, and whoever obeys is not killed."""
    script = "trap 'echo asked; exit 3' INT; echo ready; while :; do sleep 0.01; done"
    async with LocalProcessManager(containment=guarded) as manager:
        read, write = os.pipe()
        child = await manager.spawn_child(SpawnParams("sh", ("-c", script), stdout=write))
        os.close(write)
        assert await asyncio.to_thread(os.read, read, 10) == b"ready\n"
        guard = guard_of(child)
        names = {"guard": str(guard), "id": (await listed())[guard]["id"], "root": str(child.os_pid)}
        await ran("kill", "--signal", "INT", "--grace", str(PATIENCE), names[by])
        assert await asyncio.to_thread(os.read, read, 10) == b"asked\n"
        os.close(read)
        end = await manager.wait_for_root(child.pid, PATIENCE)
        assert end is not None
        assert end.code == 3


async def test_a_released_tree_is_nobodys_and_can_be_killed(guarded: Mechanism, adoption: Adoption) -> None:
    """Its supervisor has left; whoever may signal it can end it."""
    async with LocalProcessManager(containment=guarded) as manager:
        tree = await manager.spawn("sh", "-c", "sleep 1000 & wait")
        token = await tree.release()
    released = (await listed())[token.guard]
    assert (released["state"], released["owner"], len(released["members"])) == ("released", None, 2)
    out, _ = await ran("ps")
    assert "(released)" in out
    await ran("kill", "--force", released["id"])
    assert not any(Path(f"/proc/{member['pid']}").exists() for member in released["members"])
    assert token.guard not in await listed()


async def test_a_recycled_number_is_not_hit(guarded: Mechanism) -> None:
    """An id names one guard: another one with the same number was started at another time."""
    async with LocalProcessManager(containment=guarded) as manager:
        child = await manager.spawn_child(SLEEP)
        name = (await listed())[guard_of(child)]["id"]
        pid, started = name.split(".")
        _, err = await ran("kill", "--force", f"{pid}.{int(started) - 1}", status=1)
        assert "no such tree" in err
        assert look(child.os_pid) is not None
        # The others are ended all the same.
        await ran("kill", "--force", f"{pid}.{int(started) - 1}", name, status=1)
        assert await manager.wait_for_exit(child.pid, PATIENCE)


@pytest.fixture
def pretender() -> Iterator[subprocess.Popen[bytes]]:
    """A process that is no guard."""
    with subprocess.Popen((sys.executable, "-c", PRETENDER, "x" * 200), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        yield process
        for pid in (*map(int, children), process.pid):
            os.kill(pid, signal.SIGKILL)


async def test_what_calls_itself_a_guard_is_none(pretender: subprocess.Popen[bytes]) -> None:
    """Its name and its command line are a guard's, but it is not closed to others, or another program."""
    title = Path(f"/proc/{pretender.pid}/cmdline").read_bytes()
    assert title.startswith(b"treeguard-guard supervised ")
    assert Path(f"/proc/{pretender.pid}/comm").read_text() == "treeguard-guard\n"
    assert pretender.pid not in await listed()
    _, err = await ran("kill", "--force", str(pretender.pid), status=1)
    assert "no such tree" in err
    assert pretender.poll() is None


@needs_root
async def test_another_users_trees_are_neither_shown_nor_killed(guarded: Mechanism) -> None:
    """Only with --all, since command lines can be read by everybody. Root sees all."""
    uid = 61_000 + os.getpid() % 4_000
    other = (sys.executable, "-c", AS_ANOTHER.format(uid=uid))
    async with LocalProcessManager(containment=guarded) as manager:
        child = await manager.spawn_child(SLEEP)
        guard = guard_of(child)
        assert guard not in await listed(program=other)
        assert (await listed("--all", program=other))[guard]["kind"] == "external"
        _, err = await ran("kill", "--force", str(guard), status=1, program=other)
        assert "another user" in err
        assert look(child.os_pid) is not None


@needs_root
async def test_an_ordinary_user_sees_and_ends_its_own() -> None:
    """Without a privilege: a guard shows all that is needed to its own user."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        await _see_and_end(shutil.copy(native.GUARD, place))


async def _see_and_end(guard: str) -> None:
    uid = 61_000 + os.getpid() % 4_000
    other = (sys.executable, "-c", AS_ANOTHER.format(uid=uid))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", RUN_AS_ANOTHER.format(uid=uid, guard=guard)), stdout=subprocess.PIPE, cwd="/"
    )
    try:
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), PATIENCE) == b"ready\n"
        trees = [tree for tree in (await listed(program=other)).values() if tree["owner"]["pid"] == process.pid]
        assert [(tree["uid"], tree["mechanism"], len(tree["members"])) for tree in trees] == [(uid, "subreaper", 2)]
        await ran("kill", "--force", trees[0]["id"], program=other)
        assert await asyncio.wait_for(process.wait(), PATIENCE) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


#: A supervisor of another user, with what it loads later loaded before.
RUN_AS_ANOTHER = """
import asyncio, os, sys
import treeguard, treeguard._core.recovery
from treeguard._core import native
native.GUARD = {guard!r}
async def main():
    async with treeguard.LocalProcessManager(containment="subreaper") as manager:
        child = await manager.spawn_child(treeguard.SpawnParams("sh", ("-c", "sleep 1000 & echo ready; wait"), cwd="/"))
        await manager.wait_for_exit(child.pid)
async def once():
    async with treeguard.LocalProcessManager(containment="subreaper") as manager:
        child = await manager.spawn_child(treeguard.SpawnParams("true"))
        await manager.wait_for_exit(child.pid)
asyncio.run(once())
os.setgroups([])
os.setresgid(*[{uid}] * 3)
os.setresuid(*[{uid}] * 3)
asyncio.run(main())
"""


def test_watching_ends_by_the_signal_of_ctrl_c() -> None:
    """The terminal is as it was, and no traceback stands on it."""
    main, other = pty.openpty()
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    before = subprocess.run(["stty", "-g"], stdin=other, capture_output=True, check=True).stdout
    process = subprocess.Popen((*TREEGUARD, "ps", "--watch", "0.1"), stdin=other, stdout=other, stderr=other, env=env)
    seen = b""
    while seen.count(b"\033[H") < 3:
        seen += os.read(main, 4096)
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == -signal.SIGINT
    os.set_blocking(main, False)
    with contextlib.suppress(BlockingIOError):
        seen += os.read(main, 65536)
    assert b"Traceback" not in seen
    # No other screen, no hidden cursor: there is nothing to restore.
    assert b"\033[?" not in seen
    assert subprocess.run(["stty", "-g"], stdin=other, capture_output=True, check=True).stdout == before
    os.close(main)
    os.close(other)


@pytest.mark.parametrize("options", [["--json"], []])
def test_watching_into_a_pipe(options: list[str]) -> None:
    """A document a line, or listings with an empty line between them. It ends quietly with its reader."""
    process = subprocess.Popen(
        (*TREEGUARD, "ps", "--watch", "0.1", *options), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    lines = [process.stdout.readline() for _ in range(3)]
    if options:
        assert all("trees" in json.loads(line) for line in lines)
    process.stdout.close()
    assert process.wait(PATIENCE) == 128 + 13
    assert process.stderr.read() == b""
    process.stderr.close()
