"""Running the code of documents: sessions, as typed at the prompt of ``python -m asyncio``, and rows of tables."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import doctest
import io
import re
import sys
import traceback
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Prompt", "Row", "failures", "fences", "rows", "sections"]

_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


class Prompt:
    """A prompt that knows ``await``, and the loop that it runs on."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {"__name__": "__main__"}
        self._loop = asyncio.new_event_loop()

    def __enter__(self) -> Prompt:
        return self

    def __exit__(self, *_: object) -> None:
        # As asyncio.run does it.
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                self._loop.run_until_complete(task)
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    def type(self, source: str, mode: str = "single") -> Any:
        """Runs what is typed, and returns its value with ``mode="eval"``."""
        code = compile(source, "<prompt>", mode, ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        value = types.FunctionType(code, self.names)()
        return self._loop.run_until_complete(value) if asyncio.iscoroutine(value) else value

    def said(self, source: str) -> str:
        """What is printed when it is run: its value and an exception too."""
        with contextlib.redirect_stdout(io.StringIO()) as said, _plain_display():
            try:
                self.type(source)
            except Exception as error:
                said.write("".join(traceback.format_exception_only(type(error), error)))
        return said.getvalue()


@contextlib.contextmanager
def _plain_display() -> Iterator[None]:
    # pytest may have another one, and the usual one keeps the value alive.
    before = sys.displayhook
    sys.displayhook = lambda value: None if value is None else print(repr(value))
    try:
        yield
    finally:
        sys.displayhook = before


def fences(text: str) -> list[tuple[str, str]]:
    """The fenced blocks of a document: language and text."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def sections(path: Path) -> dict[str, str]:
    """The parts of a document by their headings of the second level."""
    parts = re.split(r"^## (.+)$", path.read_text("utf-8"), flags=re.MULTILINE)
    return dict(zip(["", *parts[1::2]], parts[::2], strict=True))


def failures(text: str, prompt: Prompt) -> list[str]:
    """What the sessions in a text should have said, and have not."""
    checker, found = doctest.OutputChecker(), []
    for language, block in fences(text):
        for example in doctest.DocTestParser().get_examples(block) if language == "pycon" else []:
            got = prompt.said(example.source)
            want = example.want if example.exc_msg is None else example.exc_msg
            if not checker.check_output(want, got, _FLAGS):
                found.append(f"{example.source}{checker.output_difference(example, got, _FLAGS)}")
    return found


class Row(NamedTuple):
    """A row of a table: the code that it replaces, its own code, and the value of that, where the row has one."""

    before: str
    after: str
    gives: str | None


def rows(text: str) -> list[Row]:
    """The rows that begin with code, of the tables in a text."""
    found = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) >= 2 and all(cell.startswith("`") for cell in cells[:2]):
            before, after = (re.findall(r"`([^`]+)`", cell.replace("\\|", "|")) for cell in cells[:2])
            gives = re.search(r"gives `([^`]+)`", cells[1])
            found.append(Row(before[0], after[0], gives[1] if gives else None))
    return found
