"""What the documents show is true: every session and every row of a table with code is run."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import treeguard
from treeguard import PIPE, subprocess

from ..support.blocking import own_managers
from ..support.documents import Prompt, Row, failures, fences, rows, sections
from ..support.patience import PATIENCE, SLOWNESS

__all__ = ["own_managers"]

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("migration.md", "subprocess.md")
MIGRATION = sections(DOCS / "migration.md")
ROWS = [(library, row) for library, text in MIGRATION.items() for row in rows(text)]

#: ``subprocess.Popen`` takes this since Python 3.11.
process_group = pytest.mark.skipif(sys.version_info < (3, 11), reason="this Python has no process_group")
REFUSED = [
    ("preexec_fn", print),
    pytest.param("process_group", 1, marks=process_group),
]


@pytest.fixture
def prompt() -> Iterator[Prompt]:
    """A prompt at which nothing has been typed."""
    with Prompt() as one:
        yield one


@pytest.mark.parametrize("name", PAGES)
def test_sessions_of_a_page_are_true(name: str, prompt: Prompt) -> None:
    """From its first line to its last one, what is typed answers what is printed there."""
    assert not failures((DOCS / name).read_text("utf-8"), prompt)


def test_control_a_wrong_answer_is_seen(prompt: Prompt) -> None:
    """Control: an answer that does not come, an exception that does, and code that is not understood."""
    wrong = "```pycon\n>>> 1\n2\n>>> 1 / 0\n>>> import asyncio\n>>> await asyncio.sleep(0, 3)\n3\n>>> await\n```\n"
    assert [each.splitlines()[0] for each in failures(wrong, prompt)] == ["1", "1 / 0", "await"]


@pytest.mark.parametrize(("name", "value"), REFUSED)
def test_what_the_page_calls_refused_is_refused(name: str, value: Any) -> None:
    """Before anything is started, with a ValueError that names the argument."""
    assert name in sections(DOCS / "subprocess.md")["What differs from the standard library"]
    with pytest.raises(ValueError, match=name):
        treeguard.run(["true"], **{name: value})


@pytest.mark.parametrize(("name", "value"), REFUSED)
async def test_what_the_page_calls_refused_with_asyncio_is_refused(name: str, value: Any) -> None:
    """And ``close_fds=False`` is not."""
    arun: Any = treeguard.arun
    with pytest.raises(ValueError, match=name):
        await arun(["true"], **{name: value})
    with pytest.raises(ValueError, match=name):
        await treeguard.create_subprocess_exec("true", **{name: value})
    assert (await arun(["true"], close_fds=False)).returncode == 0


async def _trees() -> list[treeguard.Tree]:
    made = []
    for _ in range(2):
        tree = await treeguard.create_subprocess_shell("echo ready; cat; exit", stdin=PIPE, stdout=PIPE)
        made.append(tree)
    return made


async def _at_terminal() -> treeguard.Tree:
    return await treeguard.create_subprocess_shell("echo ready; cat; exit", pty=True)


@pytest.mark.parametrize(("library", "row"), ROWS, ids=[f"{library}: {row.after}" for library, row in ROWS])
def test_row_of_the_migration_is_true(library: str, row: Row, prompt: Prompt) -> None:
    """What replaces the older code can be run, and gives the value that the row has. The older code is Python."""
    if "process_group" in row.after and sys.version_info < (3, 11):
        pytest.skip("this Python has no process_group")
    compile(row.before, "<before>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    for _, block in fences(MIGRATION[""]):
        assert not failures(f"```pycon\n{block}```\n", prompt)
    prompt.names.update(make_trees=_trees, process=subprocess.Popen(["sleep", "0.2"]))
    prompt.type("trees = await make_trees()")
    prompt.type("tree = trees[0]")
    value: Any = None
    if "child." in row.after:
        prompt.names["make_child"] = _at_terminal
        prompt.type("child = await make_child()")
        prompt.type("trees.append(child)")
    prompt.type("for each in trees:\n    while len(await each.members()) < 2: await asyncio.sleep(0.01)\n")
    try:
        *statements, last = ast.parse(row.after).body
        prompt.type("\n".join(map(ast.unparse, statements)), "exec")
        value = prompt.type(ast.unparse(last), "eval")
        assert row.gives is None or repr(value) == row.gives
    finally:
        _end(prompt, value)
    assert not [tree for tree in prompt.names["trees"] if not tree.exit]


def _end(prompt: Prompt, value: Any) -> None:
    for each in (value, prompt.names["process"]):
        if isinstance(each, subprocess.Popen):
            each.kill()
            each.wait(PATIENCE)
            if each.pty is not None:
                each.pty.close()
    for each in (value, *prompt.names["trees"]):
        if isinstance(each, treeguard.Tree):
            prompt.names["ending"] = each
            prompt.type(f"ending.kill(); await ending.wait_empty({10 * SLOWNESS})", "exec")


def test_every_table_and_example_of_the_migration_is_run() -> None:
    """A row whose code would not be found is not in the page, nor an example that is not a session or older code."""
    assert len(ROWS) >= 30
    for name in PAGES:
        for language, block in fences((DOCS / name).read_text("utf-8")):
            assert language in ("pycon", "python")
            if language == "python":
                compile(block, name, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    for line in "\n".join(MIGRATION.values()).splitlines():
        if line.startswith("| `"):
            assert rows(line) or " | nothing |" in line, line
