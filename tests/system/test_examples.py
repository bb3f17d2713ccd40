"""The examples do what they say, in no more lines than with asyncio.subprocess."""

from __future__ import annotations

import ast
import re
import shutil
import sys
from pathlib import Path

import pytest

import treeguard

from ..support.blocking import own_managers
from ..support.patience import PATIENCE

__all__ = ["own_managers"]

EXAMPLES = Path(__file__).parents[2] / "examples"
#: Where their lengths are compared.
MIGRATION = EXAMPLES.parent / "docs" / "migration.md"
#: The same programs as they are written without treeguard.
WITH_ASYNCIO = Path(__file__).parents[1] / "examples_asyncio"

TOOL_CALLS = (
    "20 calls: exit code 0, 7 and 5 bytes\n"
    "10 calls: exit code 0, 1048576 and 0 bytes\n"
    "10 calls: exit code 3, 0 and 14 bytes\n"
    "10 calls: timed out, 0 and 0 bytes\n"
)
COMPILED = "".join(f"compile {n} | compiling {n}\ncompile {n} | compiled {n}\n" for n in range(15))
STEPS = f"{COMPILED}index left process PID\nindex | indexed\ntest failed with exit code 3\ntest | testing\n"

SAID = {
    "agent_tool": TOOL_CALLS,
    "rpc_client": "answer: 200000 characters\nserver ended with exit code 0\nhelper had to be killed: False\n",
    "step_runner": STEPS,
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


#: What the same programs say with asyncio, and how many processes they leave. Those that left the root's group are not
#: found, so a step's are not told of.
SAID_WITH_ASYNCIO = {
    "agent_tool": (TOOL_CALLS, 10),
    "rpc_client": (SAID["rpc_client"].partition("helper")[0], 1),
    "step_runner": (STEPS.replace("index left process PID\n", ""), 1),
}


def in_order(name: str, said: str) -> str:
    """What an example has said, without process ids, its lines sorted where several children speak at the same time."""
    lines = re.sub(r"process \d+", "process PID", said).splitlines(keepends=True)
    if name == "three_children":
        lines.sort(key=lambda line: line.partition(":")[0])  # each one's lines are in order
    elif name == "step_runner":
        lines.sort()
    return "".join(lines)


@pytest.mark.parametrize("name", sorted(SAID))
def test_example(name: str) -> None:
    """It runs without an error, a warning, or anything left behind, and prints what it should."""
    if name == "three_children" and shutil.which("node") is None:
        pytest.skip("one of its children is in Node, which is not installed here")
    command = [sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py")]
    done = treeguard.run(command, capture_output=True, text=True, timeout=3 * PATIENCE)
    assert done.returncode == 0, done.stderr
    assert in_order(name, done.stdout) == in_order(name, SAID[name])
    assert not done.left


@pytest.mark.parametrize("name", sorted(SAID_WITH_ASYNCIO))
def test_control_asyncio_takes_more_lines_and_leaves_processes(name: str) -> None:
    """Control: what is written with asyncio is longer, as the page says, tells no more, and leaves processes."""
    said, left = SAID_WITH_ASYNCIO[name]
    command = [sys.executable, str(WITH_ASYNCIO / f"{name}.py")]
    done = treeguard.run(command, capture_output=True, text=True, timeout=3 * PATIENCE)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.splitlines()) <= set(said.splitlines())
    assert 0 < len(done.left) <= left
    ours, theirs = lines_of(EXAMPLES / f"{name}.py"), lines_of(WITH_ASYNCIO / f"{name}.py")
    assert ours < theirs
    row = rf"^\| \[.*\]\(\.\./examples/{name}\.py\).* \| {ours} \| \[{theirs}\]\(.*/{name}\.py\) \| {left} \|$"
    assert re.search(row, MIGRATION.read_text("utf-8"), re.MULTILINE), (ours, theirs)


def lines_of(path: Path) -> int:
    """The lines of a program without blank lines, comments and docstrings."""
    text = path.read_text("utf-8")
    comments = 0
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            comments += (node.end_lineno or 0) - node.lineno + 1
    return sum(1 for line in text.splitlines() if line.strip() and not line.strip().startswith("#")) - comments


def test_every_example_is_run() -> None:
    """No example is left out here."""
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(SAID)
