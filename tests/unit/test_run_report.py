"""What the reports of ``treeguard run`` say of an end that tests cannot bring about everywhere."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from treeguard._cli.option_values import limits
from treeguard._cli.outcome import Asked, Outcome
from treeguard._cli.report import Reporter
from treeguard._core.outcome import Left
from treeguard.types import ProcessId, RootExit


def report_of(place: Path, outcome: Outcome) -> dict[str, Any]:
    reporter = Reporter(("true",), file=str(place))
    reporter.started(outcome, "cgroup")
    reporter.ended(0)
    found: dict[str, Any] = json.loads(place.read_text())
    return found


@pytest.mark.parametrize(
    ("end", "asked", "ended"),
    [
        (RootExit(None, 9, oom_killed=True), None, "memory"),
        (RootExit(None, 9, oom_killed=True), "timeout", "memory"),
        (RootExit(0), "parent", "parent"),
        (RootExit(0), None, "itself"),
        (None, None, "lost"),
        (None, "request", "request"),
    ],
)
def test_why_a_tree_ended(tmp_path: Path, end: RootExit | None, asked: Asked | None, ended: str) -> None:
    """A limit goes before a request, which it may have come after."""
    outcome = Outcome(ProcessId(uuid.uuid4()), 1, exit=end, asked=asked)
    assert report_of(tmp_path / "report", outcome)["ended"] == ended


def test_names_that_are_no_text(tmp_path: Path) -> None:
    """Bytes of a command line that are no UTF-8 survive, and so does a process's name."""
    outcome = Outcome(ProcessId(uuid.uuid4()), 1, left=(Left(7, "\udcff"),) * 1000)
    found = report_of(tmp_path / "report", outcome)
    assert found["left"][0] == {"pid": 7, "name": "\udcff", "held_output": None}
    assert len(found["left"]) == 100


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("memory=512M,processes=100,cpu=1.5", {"memory": 512 << 20, "processes": 100, "cpu": 1.5}),
        ("memory=1024", {"memory": 1024}),
        ("memory=2g", {"memory": 2 << 30}),
        ("memory=1K,memory=1T", {"memory": 1 << 40}),
        ("cpu=.5", {"cpu": 0.5}),
    ],
)
def test_limits(text: str, expected: dict[str, float]) -> None:
    """In powers of 1024. What is said last holds."""
    assert limits(text) == expected
