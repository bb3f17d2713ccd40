"""``treeguard run --release``: what its command has left lives on, on purpose, and is said."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from treeguard import LocalProcessManager
from treeguard._cli.guards import find_guards
from treeguard.released import ReleasedTree
from treeguard.types import Mechanism

from ..support.adoption import Adoption
from ..support.patience import PATIENCE
from .test_run import Start, eventually, line_of, run, start

__all__ = ["start"]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="trees are released on Linux only")

#: Starts a daemon that forks twice and leads a session of its own, notes its pid in a file, and goes on as told.
COMMAND = """
import os, signal, sys, time
place, then = sys.argv[1:]
ready, tell = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        null = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(null, stream)
        with open(place, "w") as file:
            file.write(str(os.getpid()))
        os.write(tell, b".")
        time.sleep(1000)
    os._exit(0)
os.wait()
os.read(ready, 1)
print("up", flush=True)
exec(then)
"""
EXIT = "sys.exit(3)"
STAY = "time.sleep(1000)"


class Daemon:
    """What a command leaves behind."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.report = place / "report"

    def left_by(self, then: str, *options: str) -> tuple[str, ...]:
        """Arguments of ``treeguard run``."""
        command = (sys.executable, "-S", "-E", "-c", COMMAND, str(self.place / "pid"), then)
        return (*options, "--report", str(self.report), "--", *command)

    @property
    def pid(self) -> int:
        """Of the daemon, once it has been up."""
        return int((self.place / "pid").read_text())

    @property
    def lives(self) -> bool:
        """Whether it does. A zombie does not."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return str(self.place) in " ".join(psutil.Process(self.pid).cmdline())
        return False

    @property
    def told(self) -> dict[str, Any]:
        """The report."""
        found: dict[str, Any] = json.loads(self.report.read_text())
        return found


@pytest.fixture
def daemon(tmp_path: Path, adoption: Adoption) -> Iterator[Daemon]:
    """One whose tree has ended after the test, by force if need be."""
    one = Daemon(tmp_path)
    yield one
    if (tmp_path / "pid").exists() and one.lives:
        os.kill(one.pid, signal.SIGKILL)
    # Its guard ends with it, and is adopted here.
    adoption.reap_all()


def treeguard_kill(name: str) -> int:
    """Its status."""
    from treeguard._cli.commands import main

    return main(["kill", "--force", name])


def test_what_is_left_lives_on(containing: Mechanism, daemon: Daemon) -> None:
    """It is said, with the id that ``treeguard kill`` takes. The status is the command's."""
    done = run(*daemon.left_by(EXIT, "--containment", containing, "--linger", "0", "--release"))
    assert done.returncode == 3
    assert daemon.lives
    said = re.fullmatch(
        r"treeguard run: 1 process was released and lives on: \S+ \((\d+)\); 'treeguard kill (\d+)' ends it\n",
        done.stderr.decode(),
    )
    assert said is not None, done.stderr
    assert int(said[1]) == daemon.pid
    (guard,) = (each for each in find_guards() if each.pid == int(said[2]))
    assert (guard.state, guard.owner) == ("released", 0)
    told = daemon.told
    assert (told["ended"], told["killed"], told["status"], told["error"]) == ("released", False, 3, None)
    assert told["released"]["id"].partition(".")[0] == said[2]
    assert [each["pid"] for each in told["left"]] == [daemon.pid]
    assert treeguard_kill(said[2]) == 0
    assert not daemon.lives


def test_without_the_option_it_is_ended(containing: Mechanism, daemon: Daemon) -> None:
    """Control."""
    done = run(*daemon.left_by(EXIT, "--containment", containing, "--linger", "0"))
    assert done.returncode == 3
    assert not daemon.lives
    assert (daemon.told["ended"], daemon.told["released"]) == ("itself", None)


async def test_it_is_taken_over_by_the_token_in_the_report(containing: Mechanism, daemon: Daemon) -> None:
    """And is that manager's then."""
    run(*daemon.left_by(EXIT, "--containment", containing, "--linger", "0", "--release"))
    token = ReleasedTree.parse(daemon.told["released"]["token"])
    async with LocalProcessManager(containment=containing) as manager:
        tree = await manager.take_over(token)
        assert await tree.members() == (daemon.pid,)
        assert await tree.wait() == 3
    assert not daemon.lives


ENDS = {
    "timeout": (STAY, ("--timeout", "0.5", "--grace", "0"), 124),
    "signal": ("signal.signal(2, signal.SIG_DFL); os.kill(os.getpid(), 2)", (), -signal.SIGINT),
    "request": (STAY, ("--grace", "0"), -signal.SIGTERM),
    "request that the command obeys": ("signal.signal(15, lambda *_: sys.exit(3)); print(flush=True);" + STAY, (), 3),
    "request during the linger": (EXIT, ("--linger", "1000"), 3),
    "SIGKILL": (STAY, (), -signal.SIGKILL),
}


@pytest.mark.parametrize("end", ENDS)
def test_all_other_ends_are_the_trees(start: Start, containing: Mechanism, daemon: Daemon, end: str) -> None:
    """While the command runs, and unless it exits by itself, everything holds as without the option."""
    then, options, status = ENDS[end]
    process = start(*daemon.left_by(then, "--containment", containing, *options, "--release"))
    assert line_of(process) == "up"
    if end == "SIGKILL":
        process.kill()
    elif end == "request during the linger":
        eventually(lambda: _root_has_ended(process.pid), "the command has exited")
        process.terminate()
    elif end.startswith("request"):
        if then != STAY:
            line_of(process)
        process.terminate()
    _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (status, b"")
    eventually(lambda: not daemon.lives, "the daemon is gone")


def _root_has_ended(supervisor: int) -> bool:
    (guard,) = (each for each in find_guards() if each.owner == supervisor)
    return not psutil.pid_exists(guard.root)


def test_nothing_is_said_if_nothing_is_left(containing: Mechanism, daemon: Daemon) -> None:
    """And nothing stays, also of what ends within the linger."""
    for command in ("exit 3", "sleep 0.1 >/dev/null 2>&1 & exit 3"):
        options = ("--containment", containing, "--linger", "1000", "--release", "--report", str(daemon.report))
        done = run(*options, "sh", "-c", command)
        assert (done.returncode, done.stderr) == (3, b"")
        assert (daemon.told["ended"], daemon.told["released"]) == ("itself", None)


def test_timeout_ends_the_linger_only(containing: Mechanism, daemon: Daemon) -> None:
    """The command was in time."""
    done = run(*daemon.left_by(EXIT, "--containment", containing, "--linger", "1000", "--timeout", "2", "--release"))
    assert done.returncode == 3
    assert daemon.told["ended"] == "released"
    assert daemon.lives


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--containment", "process_group"), "process_group it has no guard"),
        (("--die-with-parent",), "--die-with-parent"),
    ],
)
def test_what_cannot_be_kept_is_refused(options: tuple[str, ...], words: str, daemon: Daemon) -> None:
    """Before anything starts."""
    done = run(*daemon.left_by(EXIT, "--release", *options))
    assert done.returncode == 125
    assert words in done.stderr.decode()
    assert not (daemon.place / "pid").exists()
