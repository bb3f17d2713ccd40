"""What a run under Wine says of itself: each test is counted once, and what was left to Windows is told apart."""

from __future__ import annotations

from types import SimpleNamespace

from ..windows.marks import REAL_WINDOWS
from ..windows.tally import tally


def report(nodeid: str, longrepr: object = None) -> SimpleNamespace:
    """As much of pytest's as is looked at."""
    return SimpleNamespace(nodeid=nodeid, longrepr=longrepr)


def test_each_outcome_counts() -> None:
    """Tests that failed, or did not get far, have run too; those of Windows itself are among the skipped."""
    skipped = [report("d", ("f", 1, "Skipped: is of POSIX")), report("e", ("f", 2, f"Skipped: {REAL_WINDOWS}: no"))]
    stats = {"passed": [report("a")], "failed": [report("b")], "error": [report("c")], "skipped": skipped}
    assert tally(stats) == (3, 2, 1)
    assert str(tally(stats)) == "3 run, 2 skipped, 1 of these real_windows"


def test_nothing_counts_twice() -> None:
    """A test whose cleaning up failed as well is one test; other reports are none."""
    stats = {"failed": [report("a")], "error": [report("a")], "passed": [report("b")], "": [report("b"), report("c")]}
    assert tally(stats) == (2, 0, 0)


def test_an_empty_run() -> None:
    """Of nothing there is nothing."""
    assert tally({}) == (0, 0, 0)
