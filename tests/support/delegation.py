"""A cgroup of one's own: the scope that systemd delegates to a process, with controllers where it has them."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from .apart import ROOT, command_of
from .patience import PATIENCE

__all__ = ["in_a_scope"]


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
