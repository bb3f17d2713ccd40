"""The examples of docs/testing-your-code.md pass as they stand there."""

from __future__ import annotations

import asyncio
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "testing-your-code.md"

_BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
_NAMES: dict[str, Any] = {}
# One after the other, as a reader would put them into one file.
for block in _BLOCKS:
    exec(compile(block, str(PAGE), "exec"), _NAMES)
_EXAMPLES = sorted(name for name in _NAMES if name.startswith("test_"))


@pytest.mark.parametrize("name", _EXAMPLES)
def test_example(name: str) -> None:
    """It passes."""
    result = _NAMES[name]()
    if inspect.iscoroutine(result):
        asyncio.run(result)


def test_there_are_examples() -> None:
    """Control: the page is read."""
    assert len(_EXAMPLES) == sum(block.count("def test_") for block in _BLOCKS) >= 7
