"""The table of guarantees names tests that exist, for each of its rows."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
CLAIMS, PROOFS = TEXT.split("## Proofs")


def test_every_test_named_exists() -> None:
    """What the table calls a proof is a test of that file."""
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", PROOFS)
    assert named
    for file, test in named:
        paths = (ROOT / "tests" / where / file for where in ("system", "property"))
        texts = [path.read_text(encoding="utf-8") for path in paths if path.exists()]
        assert any(f"def {test}(" in text for text in texts), f"{file}::{test}"


def test_every_row_has_a_proof() -> None:
    """Each row that claims something has a row that proves it, with at least one test."""
    claimed = re.findall(r"^\| ([A-Z])\. ", CLAIMS, re.MULTILINE)
    proved = re.findall(r"^\| ([A-Z]) \| `test_", PROOFS, re.MULTILINE)
    assert claimed == proved
