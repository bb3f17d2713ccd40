"""The check on what a life costs: it passes on what is recorded, and notices what is dearer."""

from __future__ import annotations

import json
import shutil

import pytest

from benchmarks import cost

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


def test_a_tenth_more_is_too_much() -> None:
    """A count is dearer from above a tenth on; less is never an error."""
    record = {"a life": {"system calls": 100.0, "function calls": 50.0}}
    assert not cost.dearer({"a life": {"system calls": 110.0, "function calls": 10.0}}, record)
    risen = cost.dearer({"a life": {"system calls": 111.0, "function calls": 50.0}}, record)
    assert risen == ["a life: 111 system calls, were 100"]


@pytest.mark.stress
def test_a_dearer_life_is_noticed() -> None:
    """A life that is made dearer on purpose, by descriptors to pass on, fails the check; an ordinary one does not."""
    what = "subreaper, ended"
    record = json.loads(cost.RECORD.read_text(encoding="utf-8"))
    assert not cost.dearer({what: cost.totals(cost.measure("subreaper", "ended"))}, record)
    assert cost.dearer({what: cost.totals(cost.measure("subreaper", "ended", extra=10))}, record)
