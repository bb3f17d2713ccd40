"""Hosts where processes cannot be listed: without ``/proc``, or with that of another pid namespace."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import treeguard
from treeguard import ContainmentUnavailable, LocalProcessManager, SpawnParams
from treeguard._core.processes.system import get_process, iter_pids
from treeguard.released import ReleaseRefused
from treeguard.subprocess import Popen
from treeguard.types import Mechanism

from .apart import command_of, run_here
from .patience import PATIENCE, until

__all__ = ["PROCS", "asks_what_is_left", "commands", "is_released", "lives_on", "run_without_sight", "runs", "sees"]

#: What is missing, and the command that takes it away.
_WITHOUT_PROC = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /proc && exec "$@"', "sh"]
#: The shell forks, so that the command is not pid 1, which ends only by signals that it handles.
_WITH_ANOTHER_PROC = ["unshare", "--pid", "--fork", "sh", "-c", '"$@"; exit $?', "sh"]
PROCS = {"no /proc": _WITHOUT_PROC, "another namespace's /proc": _WITH_ANOTHER_PROC}


def run_without_sight(kind: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Calls a module's function where ``kind`` holds. Arguments and result are JSON; skips where that may not be."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("namespaces of one's own take privileges, and unshare(1)")
    return json.loads(run_here([*PROCS[kind], *command_of(function, *arguments)]).stdout)


async def _lives_on(mechanism: Mechanism) -> str:
    """An escapee holds a pipe: its end of file tells that it is gone, whatever ``/proc`` shows.

    It waits for the end of another one, so that it goes with this process at the latest.
    """
    try:
        manager = LocalProcessManager(containment=mechanism)
        _ = manager.containment
    except ContainmentUnavailable:
        return "refused"
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    waiting, _ = os.pipe()
    async with manager:
        script = f"setsid sh -c 'echo here >&{writing}; exec cat <&{waiting}' & exit 0"
        child = await manager.spawn_child(SpawnParams("sh", ("-c", script), pass_fds=(writing, waiting)))
        os.close(writing)
        await until(lambda: _read(reading), "an escapee is there")
        assert mechanism == "process_group" or not await manager.wait_for_exit(child.pid, 0)
        await manager.kill_tree(child.pid)
        empty = await manager.wait_for_exit(child.pid, PATIENCE / 2)
        left = _read(reading) is None
        os.close(reading)
    return f"empty: {empty}, left: {left}"


def _read(fd: int) -> bytes | None:
    """Returns None if there is nothing to read yet and a process still has the other end open."""
    try:
        return os.read(fd, 64)
    except BlockingIOError:
        return None


def lives_on(mechanism: Mechanism) -> str:
    """Whether the mechanism is refused, or what becomes of an escapee that is killed with its tree."""
    assert Path("/proc/self").exists() is Path("/proc/mounts").exists()
    return asyncio.run(_lives_on(mechanism))


def sees() -> list[bool]:
    """Whether this process is seen, and the first one; whether a list of all is refused."""
    try:
        refused = not list(iter_pids())
    except FileNotFoundError:
        refused = True
    return [get_process(os.getpid()) is not None, get_process(1) is not None, refused]


def runs(*arguments: str) -> tuple[int, str]:
    """The status of ``treeguard run``, and the command's output."""
    done = subprocess.run(
        [sys.executable, "-m", "treeguard", "run", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=PATIENCE,
        check=False,
    )
    return done.returncode, done.stdout.decode()


def commands() -> list[int]:
    """The results of commands that leave a process, or are ended, where nobody waits on an event loop."""
    leaving = ["sh", "-c", "sleep 60 & exit 4"]
    results = [
        treeguard.run(leaving).returncode,
        treeguard.run(leaving, capture_output=True).returncode,
        treeguard.run(leaving, on_root_exit="terminate", grace=PATIENCE).returncode,
    ]
    with Popen(["sleep", "60"]) as process:
        process.terminate()
        results.append(process.wait(PATIENCE))
    return results


async def _asks_what_is_left() -> bool:
    async with LocalProcessManager() as manager:
        child = await manager.spawn_child(SpawnParams("sh", ("-c", "sleep 60 & exit 0")))
        while (state := await manager.wait_for_change(child.pid)).exit is None:
            pass
        assert not state.empty
        await manager.ask_tree(child.pid, signal.SIGTERM)
        return await manager.wait_for_exit(child.pid, PATIENCE / 2)


async def _is_released() -> str:
    async with LocalProcessManager() as manager:
        tree = await manager.spawn("sleep", "60", stdout="null", stderr="null")
        try:
            await tree.release()
        except ReleaseRefused as error:
            return str(error)
        return "released"


def is_released() -> str:
    """What is said of a tree that is to be released."""
    return asyncio.run(_is_released())


def asks_what_is_left() -> bool:
    """Whether what a root has left ends when the tree is asked to end."""
    return asyncio.run(_asks_what_is_left())
