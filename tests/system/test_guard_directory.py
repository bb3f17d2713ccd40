"""A guard keeps no directory busy: it is in ``/`` before its root runs, and the root is where it was asked to be."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import tempfile
import traceback
from pathlib import Path

import pytest

from treeguard import LocalProcessManager, SpawnParams
from treeguard._core import native
from treeguard.types import Mechanism

from ..support import mounts
from ..support.apart import ROOT, command_of, run_apart
from ..support.mechanisms import CONTAINING
from ..support.ordinary import USERS, become, reachable
from ..support.patience import PATIENCE
from ..support.programs import Programs

every_guard = pytest.mark.parametrize("containing", CONTAINING)
GUARD = Path(native.GUARD).name


async def _read(fd: int, lines: int | None = None) -> str:
    """So many lines of a pipe, or all of it. Closes it."""

    def read() -> str:
        with os.fdopen(fd, encoding="utf-8") as text:
            return text.read() if lines is None else "".join(text.readline() for _ in range(lines))

    return await asyncio.get_running_loop().run_in_executor(None, read)


async def _told(mechanism: Mechanism, params: SpawnParams) -> str:
    """What a command writes to its output until it ends."""
    reader, writer = os.pipe()
    async with LocalProcessManager(containment=mechanism) as manager:
        child = await manager.spawn_child(
            SpawnParams(params.program, params.args, cwd=params.cwd, user=params.user, stdout=writer)
        )
        os.close(writer)
        text = await _read(reader)
        assert await manager.wait_for_exit(child.pid, PATIENCE)
    return text


def one_life(mechanism: Mechanism, program: str) -> None:
    """A root in a directory of its own; for another process that looks at the calls."""
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(_told(mechanism, SpawnParams(program, ("end",), cwd=directory)))


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@every_guard
def test_the_guard_leaves_before_the_root_is_there(containing: Mechanism, programs: Programs, tmp_path: Path) -> None:
    """So there is no moment in which the root runs, and its guard holds a directory of its."""
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-s", "4096", "-o", str(trace), "-e", "trace=execve,chdir,clone,clone3,vfork,fork"]
    command += command_of(one_life, containing, programs.tiny)
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=3 * PATIENCE)
    lines = trace.read_text("utf-8").splitlines()
    # Not those that try what this host gives.
    begun = re.compile(rf'execve\("[^"]*{GUARD}", .*"{re.escape(programs.tiny)}"')
    guards = {line.split()[0] for line in lines if begun.search(line)}
    assert guards
    for guard in guards:
        own = [line for line in lines if line.split()[0] == guard]
        run = next(i for i, line in enumerate(own) if "execve" in line)
        first = re.search(r" (chdir\(.*?\)|clone|vfork|fork)", own[run + 1])
        assert first is not None
        assert first[1] == 'chdir("/")'


async def _unmounted_at_once(mechanism: Mechanism) -> str:
    with tempfile.TemporaryDirectory() as directory:
        mounts.mount("none", directory, "tmpfs")
        before = Path.cwd()
        os.chdir(directory)
        async with LocalProcessManager(containment=mechanism) as manager:
            script = 'read _; pwd; cd /; umount "$OLDPWD" && echo gone; exec sleep 1000'
            reader, writer = os.pipe()
            held, go = os.pipe()
            child = await manager.spawn_child(SpawnParams("sh", ("-c", script), stdin=held, stdout=writer))
            os.close(writer)
            os.chdir(before)
            os.write(go, b"\n")
            text = await _read(reader, lines=2)
            await manager.kill_tree(child.pid)
            for fd in (held, go):
                os.close(fd)
        return text.replace(directory, "there")


def unmounted_at_once(mechanism: Mechanism) -> str:
    """A root whose supervisor was in a mounted directory unmounts it, while its tree lives."""
    return asyncio.run(_unmounted_at_once(mechanism))


@every_guard
def test_the_directory_can_be_unmounted_while_the_tree_lives(containing: Mechanism) -> None:
    """Nobody but the root was in the directory in which the supervisor was when it started the tree."""
    assert mounts.run_with_mounts(unmounted_at_once, containing) == "there\ngone\n"


def _in_a_shut_directory(shut: Path, user: int) -> None:
    """Becomes a user in a directory that this user may not search, and starts a root there."""
    shut.mkdir()
    os.chdir(shut)
    shut.chmod(0)
    become(user)
    told = asyncio.run(_told("subreaper", SpawnParams("readlink", ("/proc/self/cwd",))))
    assert told == f"{shut}\n"


@pytest.mark.parametrize("user", USERS)
def test_a_directory_that_may_not_be_searched(user: str, tmp_path: Path, programs: Programs) -> None:
    """It can be inherited all the same, as with subprocess: whoever is in it need not enter it."""
    with reachable(programs):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                _in_a_shut_directory(tmp_path / "shut", USERS[user])
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def in_a_directory_that_is_gone(mechanism: Mechanism, directory: str) -> str:
    """Where the root is that a supervisor starts in a directory that it has removed."""
    Path(directory).mkdir()
    os.chdir(directory)
    Path(directory).rmdir()
    return asyncio.run(_told(mechanism, SpawnParams("/bin/readlink", ("/proc/self/cwd",))))


@every_guard
def test_a_directory_that_is_gone(containing: Mechanism, tmp_path: Path) -> None:
    """A supervisor whose directory was removed has children, in the same directory."""
    gone = str(tmp_path / "gone")
    assert run_apart(in_a_directory_that_is_gone, containing, gone) == f"{gone} (deleted)\n"


@every_guard
async def test_relative_paths_are_relative_to_the_directory(containing: Mechanism, tmp_path: Path) -> None:
    """A program's path with a slash is looked up where the root is, not where its guard is."""
    (program := tmp_path / "tool").write_text("#!/bin/sh\npwd\n", encoding="utf-8")
    program.chmod(0o755)
    assert await _told(containing, SpawnParams("./tool", cwd=tmp_path)) == f"{tmp_path}\n"
