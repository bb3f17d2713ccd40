"""A cgroup of one's own: the scope that systemd delegates to a process, or one that is made for a test."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .apart import ROOT, command_of
from .patience import PATIENCE, wait_until

__all__ = ["full_cgroup", "in_a_scope"]


def in_a_scope(function: Callable[..., Any], *arguments: Any) -> Any:
    """Calls a module's function in a process that is alone in its cgroup. Arguments and result are JSON.

    Skips the test where nobody delegates.
    """
    reason = _refused()
    if reason:
        pytest.skip(reason)
    done = _scoped(command_of(function, *arguments))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@contextlib.contextmanager
def full_cgroup() -> Iterator[Path]:
    """A cgroup of either version whose number of processes can be limited. Skips the test if there is none."""
    directory = next(
        (path for parent in _limiting() if (path := _made(parent / f"treeguard-test-{uuid.uuid4().hex}"))), None
    )
    if directory is None:
        pytest.skip("no cgroup with a limit on the number of processes can be made")
    try:
        yield directory
    finally:
        wait_until(lambda: _removed(directory), f"{directory} is removed")


def _limiting() -> Iterator[Path]:
    """The directories below which cgroups have the controller pids."""
    mine = dict(line.split(":", 2)[1:] for line in Path("/proc/self/cgroup").read_text("utf-8").splitlines())
    for line in Path("/proc/self/mounts").read_text("utf-8").splitlines():
        _, mount, kind, options, *_ = line.split()
        if kind == "cgroup" and "pids" in options.split(","):
            yield Path(mount, mine.get("pids", "/").lstrip("/"))
        elif kind == "cgroup2":
            own = Path(mount, mine.get("", "/").lstrip("/"))
            for directory in (own, *own.parents[: len(own.parts) - len(Path(mount).parts)]):
                control = directory / "cgroup.subtree_control"
                if control.exists() and "pids" in control.read_text("ascii").split():
                    yield directory


def _made(path: Path) -> Path | None:
    try:
        path.mkdir()
    except OSError:
        return None
    return path


def _removed(path: Path) -> bool:
    try:
        path.rmdir()
    except OSError:
        return False
    return True


def _scoped(command: list[str]) -> subprocess.CompletedProcess[str]:
    user = [] if os.geteuid() == 0 else ["--user"]
    return subprocess.run(
        ["systemd-run", *user, "--scope", "--quiet", "--collect", "--property=Delegate=yes", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=6 * PATIENCE,
        check=False,
    )


@functools.cache
def _refused() -> str:
    """Why no scope is to be had; empty where one is."""
    if shutil.which("systemd-run") is None:
        return "no systemd to delegate a cgroup"
    done = _scoped([sys.executable, "-c", ""])
    return "" if done.returncode == 0 else f"systemd delegates no cgroup: {done.stderr.strip()}"
