"""The examples do what they say."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ..support.patience import PATIENCE

EXAMPLES = Path(__file__).parents[2] / "examples"

SAID = {
    "kill_everything": "working\ntoo slow: ending it, and all that it started\nempty: True\n",
    "ask_first": "GracefulShutdownOutcome(acknowledged=True, exited=True, forced=False)\n",
    # Three children at the same time: each one's lines are in order.
    "three_children": "left: []\n"
    "node: attached\n"
    "node: throttled with code -32002, may try again later\n"
    "node: GracefulShutdownOutcome(acknowledged=True, exited=True, forced=False)\n"
    "node: gone\n"
    "python: attached, storage.get gave 'none of it outlives you'\n"
    "python: denied: 'storage.delete' is not allowed\n"
    "python: GracefulShutdownOutcome(acknowledged=True, exited=True, forced=False)\n"
    "python: gone\n"
    "shell: attached\n"
    "shell: hangs\n"
    "shell: silent for too long, it will be killed\n"
    "shell: gone\n",
}


@pytest.mark.parametrize("name", sorted(SAID))
def test_example(name: str) -> None:
    """It runs without an error, a warning, or anything left behind, and prints what it should."""
    if name == "three_children" and shutil.which("node") is None:
        pytest.skip("one of its children is in Node, which is not installed here")
    command = [sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3 * PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    said = done.stdout
    if name == "three_children":
        said = "".join(sorted(said.splitlines(keepends=True), key=lambda line: line.partition(":")[0]))
    assert said == SAID[name]


def test_every_example_is_run() -> None:
    """No example is left out here."""
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(SAID)
