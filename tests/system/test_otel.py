"""OpenTelemetry: what it is told where it is installed, and that nothing breaks where it is not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from ..support.patience import PATIENCE

ROOT = Path(__file__).parents[2]


def observed(*args: str) -> dict[str, Any]:
    """What a supervisor in a process of its own told."""
    command = [sys.executable, "-W", "error", "-m", "tests.support.observed", *args]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=2 * PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "s3cret" not in done.stdout, "neither arguments nor environment are told"
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def counts(told: dict[str, Any]) -> dict[str, dict[str, int]]:
    """The counters: by name, and by their attributes, written out."""
    found: dict[str, dict[str, int]] = {}
    for scope in told["metrics"]["resource_metrics"][0]["scope_metrics"]:
        for metric in scope["metrics"]:
            points = metric["data"]["data_points"]
            found[metric["name"]] = {_shown(point["attributes"]): point["value"] for point in points}
    return found


def _shown(attributes: dict[str, Any]) -> str:
    return " ".join(f"{name.removeprefix('treeguard.')}={value}" for name, value in sorted(attributes.items()))


def test_spans_and_counters() -> None:
    """Each spawn is a span, one that fails with its error; a shutdown with its steps; all within the caller's span."""
    told = observed()
    spans = {span["name"]: span for span in told["spans"]}
    request = spans.pop("request")
    ours = [span for span in told["spans"] if span["name"] != "request"]
    assert {span["parent_id"] for span in ours} == {request["context"]["span_id"]}
    spawns = [span for span in ours if span["name"] == "treeguard.spawn"]
    assert [(span["attributes"]["treeguard.program"], span["status"]["status_code"]) for span in spawns] == [
        ("true", "UNSET"),
        ("sleep", "UNSET"),
        ("/does/not/exist", "ERROR"),
        ("sleep", "UNSET"),
    ]
    assert spawns[2]["status"]["description"] == "ProgramNotFound"
    assert all(("process.pid" in span["attributes"]) == (span is not spawns[2]) for span in spawns)
    shutdown = spans["treeguard.shutdown"]
    assert shutdown["attributes"]["treeguard.process_id"] == spawns[1]["attributes"]["treeguard.process_id"]
    assert shutdown["attributes"]["treeguard.forced"] is True
    assert [(event["name"], event["attributes"]["treeguard.outcome"]) for event in shutdown["events"]] == [
        ("treeguard.shutdown.ask", "refused"),
        ("treeguard.shutdown.kill", "empty"),
    ]
    assert counts(told) == {
        "treeguard.trees.spawned": {"kind=io": 1, "kind=storage": 1, "kind=external": 1},
        "treeguard.trees.living": {"kind=io": 0, "kind=storage": 0, "kind=external": 0},
        "treeguard.trees.failed": {"kind=external step=exec": 1},
        "treeguard.trees.ended": {
            "killed=False kind=io": 1,
            "killed=True kind=storage": 1,
            "killed=True kind=external": 1,
        },
        "treeguard.shutdowns": {"exited=True forced=True": 1},
        "treeguard.heartbeats.expired": {"": 1},
    }


def test_without_it() -> None:
    """The same life, and the same log, where it cannot be imported."""
    without, observing = observed("without"), observed()
    assert "spans" not in without
    log = [(name, level) for name, level, *_ in without["log"]]
    assert log == [(name, level) for name, level, *_ in observing["log"]]
    assert ("treeguard.shutdown", "INFO") in log
    assert ("treeguard.heartbeat", "WARNING") in log
    for name, _, words, process, connection in without["log"]:
        assert process in words
        assert (connection is not None) == (name == "treeguard.heartbeat")
