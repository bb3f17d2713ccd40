"""Launchers of ``treeguard run`` that are killed: ``python -m tests.support.launchers KIND ROUNDS [OPTION…]``.

In each round a new process launches one stand-in and waits to be killed. Just before it launches, it tells its process
id and the round, in a line, to the named pipe that the variable ``LAUNCHERS`` names. Rounds end when they are killed.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NoReturn

from .apart import ROOT

__all__ = ["KINDS", "LAUNCHERS", "MARK", "SCRIPT", "launch"]

LAUNCHERS = "LAUNCHERS"
#: The variable that the stand-in and all of its tree have, and the launcher has not.
MARK = "TREEGUARD_ROUND"
#: One process that leaves the session, and the root.
SCRIPT = "setsid sleep 1000 & exec sleep 1000"


def launch(number: int, options: list[str], *, by_fork: bool = False) -> NoReturn:
    """One round: launches, and waits to be killed."""
    pipe = os.environ[LAUNCHERS]
    env = {**os.environ, MARK: pipe, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "treeguard", "run", *options, "sh", "-c", SCRIPT]
    with open(pipe, "ab", buffering=0) as told:  # noqa: PTH123 - it is no file
        told.write(b"%d %d\n" % (os.getpid(), number))
    if not by_fork:
        subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL)
    elif os.fork() == 0:
        os.execve(command[0], command, env)
    while True:
        signal.pause()


def _forked(rounds: int, options: list[str], *, by_fork: bool) -> None:
    for number in range(rounds):
        pid = os.fork()
        if pid == 0:
            os.setsid()
            launch(number, options, by_fork=by_fork)
        os.waitpid(pid, 0)


def _in_pools(method: str, rounds: int, options: list[str]) -> None:
    context = multiprocessing.get_context(method)
    for number in range(rounds):
        with contextlib.suppress(BrokenProcessPool), concurrent.futures.ProcessPoolExecutor(1, context) as pool:
            pool.submit(launch, number, options).result()


_TESTS = """
import pytest
from tests.support.launchers import launch

@pytest.mark.parametrize("number", range({rounds}))
def test_round(number):
    launch(number, {options})
"""


def _in_xdist(rounds: int, options: list[str]) -> None:
    """Those of pytest-xdist, which replaces each worker that was killed, and goes on with the other tests."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "test_rounds.py").write_text(_TESTS.format(rounds=rounds, options=options), encoding="utf-8")
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-n1",
            f"--max-worker-restart={rounds}",
            "--rootdir",
            directory,
        ]
        command += ["-c", os.devnull, "-p", "no:cacheprovider", "-p", "no:treeguard", directory]
        subprocess.run(
            command, env={**env, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL, check=False, cwd=directory
        )


KINDS: dict[str, Callable[[int, list[str]], None]] = {
    "fork": lambda rounds, options: _forked(rounds, options, by_fork=True),
    "subprocess": lambda rounds, options: _forked(rounds, options, by_fork=False),
    "pool of fork": lambda rounds, options: _in_pools("fork", rounds, options),
    "pool of spawn": lambda rounds, options: _in_pools("spawn", rounds, options),
    "pool of forkserver": lambda rounds, options: _in_pools("forkserver", rounds, options),
    "xdist": _in_xdist,
}


if __name__ == "__main__":
    KINDS[sys.argv[1]](int(sys.argv[2]), sys.argv[3:])
