"""The tables of guarantees and of threats name tests that exist, for each of their rows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: Each page, and the rows that claim something which no test can show.
PAGES = {"guarantees.md": "", "threats.md": "MNOQRST"}

page = pytest.mark.parametrize("name", PAGES)


def parts(name: str) -> tuple[str, str]:
    """What a page claims, and its proofs."""
    claims, proofs = (ROOT / "docs" / name).read_text(encoding="utf-8").split("## Proofs")
    return claims, proofs


@page
def test_every_test_named_exists(name: str) -> None:
    """What the table calls a proof is a test of that file."""
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", parts(name)[1])
    assert named
    for file, test in named:
        paths = (ROOT / "tests" / where / file for where in ("system", "property", "windows"))
        texts = [path.read_text(encoding="utf-8") for path in paths if path.exists()]
        assert any(f"def {test}(" in text for text in texts), f"{file}::{test}"


@page
def test_every_row_has_a_proof(name: str) -> None:
    """Each row that claims something has a row that proves it, with at least one test."""
    claims, proofs = parts(name)
    claimed = re.findall(r"^\| ([A-Z])\. ", claims, re.MULTILINE)
    proved = re.findall(r"^\| ([A-Z]) \| `test_", proofs, re.MULTILINE)
    assert [row for row in claimed if row not in PAGES[name]] == proved
