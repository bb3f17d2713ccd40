"""Asking trees to end: stopped processes hear it, running ones hear nothing else, and whom a request reaches."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import treeguard
from treeguard import LocalProcessManager, Tree
from treeguard.shutdown import CloseStdin, Kill, Terminate
from treeguard.subprocess import Popen
from treeguard.types import Mechanism, SignalTarget

from ..support.blocking import own_managers
from ..support.judge import look
from ..support.patience import PATIENCE, until, wait_until

__all__ = ["own_managers"]

#: Tells of SIGTERM and of SIGCONT, and ends at the first. With an argument there are two of them, in one group.
HEARING = """
import os, signal, sys, time
name = "root"
signal.signal(signal.SIGCONT, lambda *_: tell("cont"))
def tell(what):
    os.write(1, f"{name} {what}\\n".encode())
def end(*_):
    tell("term")
    if name == "root" and sys.argv[1:]:
        os.wait()
    os._exit(5)
signal.signal(signal.SIGTERM, end)
if sys.argv[1:] and os.fork() == 0:
    name = "member"
    if sys.argv[1] == "escapee":
        os.setsid()
tell(f"up {os.getpid()}")
while True:
    time.sleep(0.01)
"""
PYTHON = (sys.executable, "-S", "-E", "-c", HEARING)

Asks = Callable[[LocalProcessManager, Tree], Awaitable[object]]


async def _terminates(manager: LocalProcessManager, tree: Tree) -> None:
    tree.terminate()


VERBS: dict[str, Asks] = {
    "Tree.terminate": _terminates,
    "Tree.shutdown": lambda manager, tree: tree.shutdown(PATIENCE),
    "terminate_tree": lambda manager, tree: manager.terminate_tree(tree.id, force=False),
    "ask_tree": lambda manager, tree: manager.ask_tree(tree.id),
    "ask_tree root": lambda manager, tree: manager.ask_tree(tree.id, to="root"),
    "ask_tree all": lambda manager, tree: manager.ask_tree(tree.id, to="all"),
    "shutdown": lambda manager, tree: manager.shutdown(tree.id, (Terminate(PATIENCE), Kill(PATIENCE))),
}


def stopped(pid: int) -> bool:
    seen = look(pid)
    return seen is not None and seen.state == "T"


async def up(tree: Tree) -> int:
    """The process that says so next."""
    assert tree.stdout is not None
    name, *_, pid = (await asyncio.wait_for(tree.stdout.readline(), PATIENCE)).decode().split()
    return tree.pid if name == "root" else int(pid)


async def rest_of(tree: Tree) -> list[str]:
    assert tree.stdout is not None
    return (await asyncio.wait_for(tree.stdout.read(), PATIENCE)).decode().splitlines()


@pytest.mark.parametrize("verb", VERBS)
async def test_a_stopped_root_hears_the_request(mechanism: Mechanism, verb: str) -> None:
    """It handles SIGTERM, and ends by itself."""
    async with LocalProcessManager(containment=mechanism) as manager:
        tree = await manager.spawn(*PYTHON, stdout=treeguard.PIPE)
        await up(tree)
        tree.send_signal(signal.SIGSTOP)
        await until(lambda: stopped(tree.pid), "it is stopped")
        await VERBS[verb](manager, tree)
        assert await tree.wait_empty(PATIENCE)
        assert tree.returncode == 5


async def test_a_stop_that_has_not_come_into_effect_counts(mechanism: Mechanism) -> None:
    """A request that follows a stop signal at once is heard."""
    async with LocalProcessManager(containment=mechanism) as manager:
        for verb in ("Tree.terminate", "ask_tree root"):
            tree = await manager.spawn(*PYTHON, stdout=treeguard.PIPE)
            await up(tree)
            tree.send_signal(signal.SIGSTOP, "root" if "root" in verb else "group")
            await VERBS[verb](manager, tree)
            assert await tree.wait_empty(PATIENCE)
            assert tree.returncode == 5


@pytest.mark.parametrize("verb", [name for name in VERBS if "root" not in name])
async def test_stopped_members_hear_it_and_running_ones_hear_nothing_else(mechanism: Mechanism, verb: str) -> None:
    """A root that handles SIGCONT gets none, although a process beside it does."""
    async with LocalProcessManager(containment=mechanism) as manager:
        tree = await manager.spawn(*PYTHON, "member", stdout=treeguard.PIPE)
        (member,) = {await up(tree), await up(tree)} - {tree.pid}
        os.kill(member, signal.SIGSTOP)
        await until(lambda: stopped(member), "it is stopped")
        await VERBS[verb](manager, tree)
        assert await tree.wait_empty(PATIENCE)
        said = await rest_of(tree)
        assert {"root term", "member term"} <= set(said)
        assert "root cont" not in said


@pytest.mark.parametrize("verb", VERBS)
async def test_a_running_tree_gets_no_other_signal(mechanism: Mechanism, verb: str) -> None:
    """SIGTERM alone."""
    async with LocalProcessManager(containment=mechanism) as manager:
        tree = await manager.spawn(*PYTHON, stdout=treeguard.PIPE)
        await up(tree)
        await VERBS[verb](manager, tree)
        assert await tree.wait_empty(PATIENCE)
        assert await rest_of(tree) == ["root term"]


async def test_a_stopped_escapee_hears_the_request(containing: Mechanism) -> None:
    """If all are asked."""
    async with LocalProcessManager(containment=containing) as manager:
        tree = await manager.spawn(*PYTHON, "escapee", stdout=treeguard.PIPE)
        (escapee,) = {await up(tree), await up(tree)} - {tree.pid}
        os.kill(escapee, signal.SIGSTOP)
        await until(lambda: stopped(escapee), "it is stopped")
        report = await manager.shutdown(tree.id, (Terminate(PATIENCE, to="all"), Kill(PATIENCE)))
        assert not report.forced
        assert "member term" in await rest_of(tree)


async def test_no_other_signal_lets_a_stopped_tree_go_on(mechanism: Mechanism) -> None:
    """A signal that is sent by its number is sent alone, whatever it is."""
    async with LocalProcessManager(containment=mechanism) as manager:
        tree = await manager.spawn(*PYTHON, stdout=treeguard.PIPE)
        await up(tree)
        tree.send_signal(signal.SIGSTOP)
        await until(lambda: stopped(tree.pid), "it is stopped")
        for to in ("group", "root", "all"):
            tree.send_signal(signal.SIGTERM, to)
            await manager.signal_tree(tree.id, signal.SIGTERM, to)
        tree.send_signal(signal.SIGWINCH)
        await until(lambda: _pending(tree.pid, signal.SIGTERM), "it has arrived")
        assert stopped(tree.pid)
        tree.send_signal(signal.SIGCONT)
        assert await tree.wait_empty(PATIENCE)


def _pending(pid: int, number: int) -> bool:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    (mask,) = (line.split()[1] for line in lines if line.startswith("ShdPnd:"))
    return bool(int(mask, 16) >> (number - 1) & 1)


async def test_a_frozen_tree_stays_frozen(containing: Mechanism) -> None:
    """It handles what it was asked once it is thawed."""
    async with LocalProcessManager(containment=containing) as manager:
        tree = await manager.spawn(*PYTHON, stdout=treeguard.PIPE)
        await up(tree)
        await tree.freeze()
        tree.terminate()
        await manager.ask_tree(tree.id, to="all")
        assert not await tree.wait_empty(0.1)
        await tree.thaw()
        assert await tree.wait_empty(PATIENCE)
        assert tree.returncode == 5


def test_a_stopped_popen_hears_the_request(mechanism: Mechanism) -> None:
    """Also without an event loop; and a running one gets nothing else."""
    for stop in (True, False):
        with Popen([*PYTHON], stdout=subprocess.PIPE, containment=mechanism, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("root up")
            if stop:
                process.send_signal(signal.SIGSTOP)
                wait_until(lambda: stopped(process.pid), "it is stopped")
            process.terminate()
            assert process.wait(PATIENCE) == 5
            assert stop or process.stdout.read() == "root term\n"


#: Leaves two stopped processes behind, one of which has left the group.
LEAVING = """
sh -c "trap 'echo member term; exit' TERM; : >member; while :; do sleep 0.02; done" & member=$!
setsid sh -c "trap 'echo escapee term; exit' TERM; echo \\$\\$ >escapee; while :; do sleep 0.02; done" &
until [ -e member -a -s escapee ]; do sleep 0.02; done
kill -STOP $member $(cat escapee)
"""


async def test_what_a_root_leaves_stopped_hears_the_request(tmp_path: Path) -> None:
    """``on_root_exit="terminate"``, of both kinds of run."""
    options: dict[str, Any] = {"capture_output": True, "text": True}
    options |= {"on_root_exit": "terminate", "grace": PATIENCE}
    for name in ("arun", "run"):
        place = tmp_path / name
        place.mkdir()
        options["cwd"] = place
        if name == "arun":
            done = await treeguard.arun(["sh", "-c", LEAVING], **options)
        else:
            done = await asyncio.to_thread(partial(treeguard.run, ["sh", "-c", LEAVING], **options))
        assert {"member term", "escapee term"} <= set(done.stdout.splitlines())


#: A daemon as of old: its root has ended when it is up. Its worker is in a session of its own too. A main process that
#: announces itself asks it.
DAEMON = """
import os, signal, socket, sys, time
def tell(what):
    os.write(1, f"{what}\\n".encode())
def end(*_):
    tell(f"{name} term")
    if name == "main":
        if "NOTIFY_SOCKET" in os.environ:
            os.kill(worker, signal.SIGUSR1)
        os.wait()
    os._exit(0)
up, ready = os.pipe()
if os.fork():
    os.close(ready)
    os.read(up, 1)
    os._exit(0)
os.setsid()
name = "main"
signal.signal(signal.SIGTERM, end)
worker = os.fork()
if worker == 0:
    name = "worker"
    os.setsid()
    signal.signal(signal.SIGUSR1, lambda *_: os._exit(0))
    os.write(ready, b"x")
elif "NOTIFY_SOCKET" in os.environ:
    said = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    said.sendto(f"MAINPID={os.getpid()}\\nREADY=1".encode(), "\\0" + os.environ["NOTIFY_SOCKET"][1:])
os.close(ready)
os.close(up)
while True:
    time.sleep(0.01)
"""


@pytest.mark.parametrize("announced", [False, True])
async def test_the_default_ladder_asks_a_daemon(containing: Mechanism, announced: bool) -> None:
    """The main process if it is known, or else each process; either way nobody is killed."""
    async with LocalProcessManager(containment=containing) as manager:
        tree = await manager.spawn(sys.executable, "-S", "-E", "-c", DAEMON, stdout=treeguard.PIPE, notify=announced)
        if announced:
            assert await manager.wait_ready(tree.id, PATIENCE)
        assert await tree.wait() == 0
        report = await manager.shutdown(tree.id)
        assert report.exited
        assert not report.forced
        heard = {"main term"} if announced else {"main term", "worker term"}
        assert set(await rest_of(tree)) == heard


@pytest.mark.parametrize(
    "beside", ["", "sh -c 'trap \"exec sleep 0.3\" TERM; echo up 0; while :; do sleep 0.02; done' & "]
)
async def test_what_a_shell_leaves_is_asked_when_its_group_is_gone(containing: Mechanism, beside: str) -> None:
    """A server that has left the group of the shell which started it, as soon as nobody is left who could ask it."""
    async with LocalProcessManager(containment=containing) as manager:
        script = f"{beside} setsid {shlex.join(PYTHON)} & wait"
        tree = await manager.spawn("sh", "-c", script, stdout=treeguard.PIPE)
        for _ in range(2 if beside else 1):
            await up(tree)
        report = await manager.shutdown(tree.id, (Terminate(PATIENCE), Kill(PATIENCE)))
        assert not report.forced
        assert await rest_of(tree) == ["root term"]


@pytest.mark.parametrize(("to", "heard"), [("group", {"root term"}), ("all", {"root term", "member term"})])
async def test_a_request_reaches_the_group_or_all(containing: Mechanism, to: SignalTarget, heard: set[str]) -> None:
    """A process that has left the group is asked if all are."""
    async with LocalProcessManager(containment=containing) as manager:
        tree = await manager.spawn(*PYTHON, "escapee", stdout=treeguard.PIPE)
        await up(tree), await up(tree)
        patience = PATIENCE if to == "all" else 0.3
        report = await manager.shutdown(tree.id, (Terminate(patience, to=to), Kill(PATIENCE)))
        assert report.forced == (to == "group")
        assert set(await rest_of(tree)) == heard


async def test_a_request_to_the_root_alone_by_another_signal(mechanism: Mechanism) -> None:
    """As for a master that asks its workers itself."""
    async with LocalProcessManager(containment=mechanism) as manager:
        tree = await manager.spawn(*PYTHON, "member", stdout=treeguard.PIPE)
        await up(tree), await up(tree)
        step = Terminate(PATIENCE, to="root", signal=signal.SIGINT, until="root")
        report = await manager.shutdown(tree.id, (step, Terminate(PATIENCE), Kill(PATIENCE)))
        assert [(step.step, step.outcome) for step in report.steps] == [
            ("terminate", "root_ended"),
            ("terminate", "empty"),
        ]
        assert tree.returncode == -signal.SIGINT
        assert await rest_of(tree) == ["member term"]


def children_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()


async def test_a_step_ends_with_the_root(containing: Mechanism) -> None:
    """A server that goes with its input leaves a process that has left its group; it is asked at once."""
    async with LocalProcessManager(containment=containing) as manager:
        script = "import os, sys; os.fork() or (os.setsid(), os.execvp('sleep', ['sleep', '1000'])); sys.stdin.read()"
        tree = await manager.spawn(sys.executable, "-S", "-E", "-c", script, stdin=treeguard.PIPE)
        await until(lambda: len(children_of(tree.pid)) == 1, "it is there")
        assert tree.stdin is not None
        ladder = (CloseStdin(tree.stdin.close, 60, until="root"), Terminate(60), Kill(PATIENCE))
        report = await asyncio.wait_for(manager.shutdown(tree.id, ladder), PATIENCE)
        assert [(step.step, step.outcome) for step in report.steps] == [
            ("close_stdin", "root_ended"),
            ("terminate", "empty"),
        ]
