"""The examples do what they say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ..support.patience import PATIENCE

EXAMPLES = Path(__file__).parents[2] / "examples"

SAID = {
    "kill_everything": "working\ntoo slow: ending it, and all that it started\nempty: True\n",
    "ask_first": "GracefulShutdownOutcome(acknowledged=True, exited=True, forced=False)\n",
}


@pytest.mark.parametrize("name", sorted(SAID))
def test_example(name: str) -> None:
    """It runs without an error, a warning, or anything left behind, and prints what it should."""
    command = [sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3 * PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == SAID[name]


def test_every_example_is_run() -> None:
    """No example is left out here."""
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(SAID)
