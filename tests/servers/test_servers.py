"""Servers are asked to end and end in their own way, whatever stands between them and the root, and whoever asks."""

from __future__ import annotations

import asyncio
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import treeguard
from treeguard import LocalProcessManager, Tree

from ..support.patience import until, wait_until
from .servers import SERVERS, Server

pytestmark = pytest.mark.servers

#: How the server becomes part of the tree: a shell's script, around a command line.
WAYS = {
    "root": "exec {}",
    "shell": "{} & wait",
    "pipe": "{} 2>&1 | cat",
    "xargs": "xargs {} </dev/null",
}
#: Seconds that a server has to end, and in which it ends by itself: all of them need less than one on an idle machine.
GRACE = 60.0
IN_TIME = 30.0


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory with a short name: that of a socket has to fit into a hundred bytes."""
    made = Path(tempfile.mkdtemp(prefix="tg-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest, place: Path) -> Server:
    """Each of the servers."""
    kind = SERVERS[request.param]
    if kind.found() is None:
        pytest.fail(f"{kind.command} is missing: install Debian's package {kind.package}")
    return kind(place)


def command(server: Server, way: str) -> list[str]:
    """The root's command line."""
    return ["sh", "-c", WAYS[way].format(shlex.join(server.foreground()))]


def daemonised(server: Server, then: str = "") -> list[str]:
    """The root's command line if the server becomes a daemon."""
    return ["sh", "-c", f"{shlex.join(server.daemon())} >/dev/null 2>&1; {then}"]


async def at_work(server: Server) -> None:
    """The server is up, and has something to save."""
    await until(server.up, "it is up")
    await asyncio.to_thread(server.work)


@pytest.mark.parametrize("way", [*WAYS, "daemon"])
async def test_open_tree(server: Server, way: str) -> None:
    """``await tree.shutdown()``."""
    words = daemonised(server) if way == "daemon" else command(server, way)
    async with treeguard.open_tree(*words) as tree:
        await at_work(server)
        if way == "daemon":
            assert await tree.wait() == 0
        report = await tree.shutdown(GRACE)
    assert (report.exited, report.forced) == (True, False)
    assert server.ended_well(), server.logged()


@pytest.mark.parametrize("way", [*WAYS, "daemon"])
async def test_default_ladder(server: Server, way: str) -> None:
    """``await manager.shutdown()``."""
    async with LocalProcessManager() as manager:
        tree: Tree = await manager.spawn(*(daemonised(server) if way == "daemon" else command(server, way)))
        await at_work(server)
        if way == "daemon":
            assert await tree.wait() == 0
        report = await manager.shutdown(tree.id)
    assert (report.exited, report.forced) == (True, False)
    assert server.ended_well(), server.logged()


@pytest.mark.parametrize("way", WAYS)
def test_run(server: Server, way: str) -> None:
    """``treeguard run`` that gets SIGTERM."""
    with run(*command(server, way)) as process:
        try:
            wait_until(server.up, "it is up")
            server.work()
        finally:
            process.terminate()
        process.wait(IN_TIME)
    assert server.ended_well(), server.logged()


def test_run_of_a_daemon(server: Server, place: Path) -> None:
    """``treeguard run`` whose command ends, and leaves the daemon behind."""
    done = place / "done"
    with run(*daemonised(server, f"until [ -e {done} ]; do sleep 0.02; done")) as process:
        try:
            wait_until(server.up, "it is up")
            server.work()
        finally:
            done.touch()
        assert process.wait(IN_TIME) == 0
    assert server.ended_well(), server.logged()


def run(*words: str) -> subprocess.Popen[bytes]:
    """``treeguard run``."""
    options = ("--grace", str(GRACE), "--linger", str(GRACE))
    return subprocess.Popen(
        [sys.executable, "-m", "treeguard", "run", *options, "--", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
