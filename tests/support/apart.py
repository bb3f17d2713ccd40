"""Runs a function in a process of its own, because it affects or damages the whole process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .patience import PATIENCE

__all__ = ["ROOT", "command_of", "run_apart", "run_here"]

ROOT = Path(__file__).parent.parent.parent
_CODE = """
import importlib, json, sys
module, name, arguments = json.loads(sys.argv[1])
print(json.dumps(getattr(importlib.import_module(module), name)(*arguments)))
"""


def command_of(function: Callable[..., Any], *arguments: Any) -> list[str]:
    """A command that calls a module's function, and prints the result; to be run in :data:`ROOT`. All is JSON."""
    call = json.dumps([function.__module__, function.__name__, arguments])
    return [sys.executable, "-W", "error", "-c", _CODE, call]


def run_here(command: list[str], timeout: float = 3 * PATIENCE) -> subprocess.CompletedProcess[str]:
    """Runs a command in :data:`ROOT`. If it fails, the test fails."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, done.stderr
    return done


def run_apart(function: Callable[..., Any], *arguments: Any, timeout: float = 3 * PATIENCE) -> Any:
    """Calls a module's function in a fresh interpreter. Arguments and result are JSON; its traceback fails the test."""
    done = run_here(command_of(function, *arguments), timeout)
    assert done.stderr == ""
    return json.loads(done.stdout)
