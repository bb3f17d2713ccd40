"""``treeguard run --die-with-parent`` whose launcher is killed while it starts: at any moment, nothing is left."""

from __future__ import annotations

import contextlib
import os
import random
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ..support.apart import ROOT
from ..support.launchers import KINDS, LAUNCHERS, MARK, SCRIPT
from ..support.patience import PATIENCE, wait_until

#: Rounds of each kind: some in every run of the suite, and 1,000 in all by make stress.
FEW = {**dict.fromkeys(KINDS, 4), "xdist": 2}
MANY = {
    "fork": 300,
    "subprocess": 250,
    "pool of fork": 150,
    "pool of spawn": 100,
    "pool of forkserver": 100,
    "xdist": 100,
}
#: Moments are spread over so many times what a start takes.
SPREAD = 1.3


def time_of_a_start() -> float:
    """Seconds from the launch of a stand-in until its command runs."""
    begun = time.monotonic()
    command = [sys.executable, "-m", "treeguard", "run", "--die-with-parent", "echo", "up"]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, timeout=PATIENCE)
    return time.monotonic() - begun


class Left:
    """What is left of rounds: processes of their sessions, and those that have the mark."""

    def __init__(self, pipe: Path) -> None:
        self._mark = f"{MARK}={pipe}\0".encode()
        self.sessions: set[int] = set()

    def found(self) -> list[int]:
        """Their process ids. Zombies are not theirs to reap."""
        return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal() and self._is_of_them(path)]

    def _is_of_them(self, path: Path) -> bool:
        with contextlib.suppress(OSError):
            state, _, _, session, *_ = (path / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
            if state == "Z":
                return False
            return int(session) in self.sessions or self._mark in (path / "environ").read_bytes()
        return False


def kill_launchers(kind: str, rounds: int, options: list[str], pipe: Path) -> Left:
    """Runs so many rounds, and kills each launcher at a moment of its own."""
    os.mkfifo(pipe)
    left = Left(pipe)
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    moments = random.Random(seed)
    spread = SPREAD * time_of_a_start()
    # Both ends, so that it neither blocks nor ends.
    told = os.open(pipe, os.O_RDWR | os.O_CLOEXEC)
    try:
        host = subprocess.Popen(
            [sys.executable, "-m", "tests.support.launchers", kind, str(rounds), *options],
            env={**os.environ, LAUNCHERS: str(pipe)},
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        left.sessions.add(host.pid)
        try:
            with os.fdopen(os.dup(told), "rb", buffering=0) as lines:
                for _ in range(rounds):
                    assert select.select([lines], [], [], PATIENCE)[0], "no launcher has begun"
                    launcher, _ = map(int, lines.readline().split())
                    left.sessions.add(os.getsid(launcher))
                    # Within the start of what it launches.
                    time.sleep(moments.uniform(0, spread))
                    os.kill(launcher, signal.SIGKILL)
            assert host.wait(PATIENCE) == 0
        finally:
            host.kill()
            host.wait()
    finally:
        os.close(told)
    return left


def end_all(left: Left) -> None:
    """Kills what is left, for the tests that follow."""
    for pid in left.found():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not left.found(), "it cannot be killed")


def leaves_nothing(kind: str, rounds: int, pipe: Path) -> None:
    left = kill_launchers(kind, rounds, ["--die-with-parent"], pipe)
    try:
        wait_until(lambda: not left.found(), "it outlives its launcher")
    finally:
        end_all(left)


@pytest.mark.parametrize("kind", FEW)
def test_a_killed_launcher_leaves_nothing(kind: str, tmp_path: Path) -> None:
    """Whatever it is, and whenever it is killed while the stand-in starts."""
    leaves_nothing(kind, FEW[kind], tmp_path / "launchers")


@pytest.mark.stress
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", MANY)
def test_killed_launchers_leave_nothing(kind: str, tmp_path: Path) -> None:
    """The same, 1,000 times in all."""
    leaves_nothing(kind, MANY[kind], tmp_path / "launchers")


def test_control_a_killed_launcher_leaves_its_tree(tmp_path: Path) -> None:
    """Control: without the option, stand-ins and their trees outlive their launchers."""
    left = kill_launchers("subprocess", 3, [], tmp_path / "launchers")
    try:
        sleepers = SCRIPT.rpartition("exec ")[2].split()

        def is_there() -> bool:
            return any(_command(pid) == sleepers for pid in left.found())

        wait_until(is_there, "nothing outlives its launcher")
    finally:
        end_all(left)


def _command(pid: int) -> list[str]:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text("utf-8", "replace").split("\0")[:-1]
    return []


#: A test on a node of xdist that starts something in a session of its own, tells of it, and stops the node: it does not
#: notice the end of the other side by itself.
HANGING_TEST = """
import os, signal, subprocess

def test_hangs():
    subprocess.Popen(["setsid", "sleep", "1000"], env={**os.environ, os.environ["MARK"]: os.environ["LAUNCHERS"]})
    with open(os.environ["LAUNCHERS"], "wb", buffering=0) as told:
        told.write(b"up\\n")
    os.kill(os.getpid(), signal.SIGSTOP)
"""


@pytest.mark.parametrize("options", ["--die-with-parent ", ""], ids=["bound", "control"])
def test_a_prefix_of_nodes_of_xdist(options: str, tmp_path: Path) -> None:
    """``--tx popen//python=``: node, test and what the test has started are gone with the pytest that was killed."""
    pipe = tmp_path / "launchers"
    os.mkfifo(pipe)
    (tmp_path / "test_hanging.py").write_text(HANGING_TEST, encoding="utf-8")
    node = f"popen//python={sys.executable} -m treeguard run {options}-- {sys.executable}"
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    left = Left(pipe)
    told = os.open(pipe, os.O_RDWR | os.O_CLOEXEC)
    command = [sys.executable, "-m", "pytest", "-q", "-d", "--tx", node, "--rootdir", str(tmp_path), "-c", os.devnull]
    main = subprocess.Popen(
        [*command, "-p", "no:cacheprovider", str(tmp_path)],
        env={**env, LAUNCHERS: str(pipe), "MARK": MARK, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    left.sessions.add(main.pid)
    try:
        assert select.select([told], [], [], PATIENCE)[0], "no test has begun"
        wait_until(lambda: ["sleep", "1000"] in map(_command, left.found()), "the test has started nothing")
        main.kill()
        main.wait()
        if options:
            wait_until(lambda: not left.found(), "it outlives the pytest that was killed")
        else:
            assert ["sleep", "1000"] in map(_command, left.found())
    finally:
        main.kill()
        main.wait()
        end_all(left)
        os.close(told)
