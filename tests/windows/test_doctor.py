"""``treeguard doctor`` on Windows: job objects are proved by what they end, and the rest has its reasons."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from treeguard._cli.experiments import EXPERIMENTS
from treeguard._core.containment.guarantees import MECHANISMS

from ..support.patience import PATIENCE
from .marks import UNDER_WINE

ROOT = Path(__file__).parents[2]
#: The roots alone are ended, so that who has escaped lives on.
CARELESS = """
import os, signal
from treeguard import LocalProcessManager
from treeguard._cli import experiments
from treeguard._cli import main
experiments._KILL_PATIENCE = 0.1
async def kill_tree(self, pid):
    for child in await self.list_children():
        os.kill(child.os_pid, signal.SIGTERM)
LocalProcessManager.kill_tree = kill_tree
raise SystemExit(main(["doctor", "--json"]))
"""
KILLS = EXPERIMENTS[:-2]


def examine(*arguments: str) -> tuple[int, str]:
    """Runs a doctor: its exit status and what it said. It complains of nothing."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=8 * PATIENCE,
        check=False,
    )
    assert done.stderr.decode() == ""
    return done.returncode, done.stdout.decode()


def mechanism_of(report: dict[str, Any], name: str) -> dict[str, Any]:
    """What was found out of one mechanism."""
    return next(each for each in report["mechanisms"] if each["mechanism"] == name)


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    """One examination of this host, looked at by several tests."""
    status, out = examine("-m", "treeguard", "doctor", "--json")
    assert status == 0, out
    found: dict[str, Any] = json.loads(out)
    return found


def test_a_healthy_host(report: dict[str, Any]) -> None:
    """Job objects work, are what ``auto`` picks, and keep what they claim."""
    assert (report["healthy"], report["auto"]) == (True, "job_object")
    found = mechanism_of(report, "job_object")
    assert found["available"]
    assert found["mismatches"] == []
    assert all(found["proved"][claim] for claim in ("contains_escapees", "proves_empty", "outlives_supervisor"))


def test_each_escapee_was_ended(report: dict[str, Any]) -> None:
    """Whatever was tried left nothing; there is no guard that could be killed."""
    done = {each["name"]: each for each in mechanism_of(report, "job_object")["experiments"]}
    assert tuple(done) == EXPERIMENTS
    assert all(done[name]["ended"] and done[name]["exact"] for name in KILLS)
    assert done["supervisor killed"]["ended"]
    assert done["guard killed"]["problem"] == "no guard"


@pytest.mark.parametrize("name", [name for name in MECHANISMS if name != "job_object"])
def test_what_is_not_there_has_a_reason(report: dict[str, Any], name: str) -> None:
    """Each mechanism of other systems is told of, with a reason of its own."""
    found = mechanism_of(report, name)
    assert not found["available"]
    others = [each["reason"] for each in report["mechanisms"] if each["mechanism"] != name]
    assert found["reason"] not in (None, "", *others)


def test_facts(report: dict[str, Any]) -> None:
    """It says on what it stands."""
    assert report["host"]["system"] == "Windows"
    assert bool(report["host"]["wine"]) == UNDER_WINE
    assert set(report["host"]["calls"].values()) == {None}


def test_escapees_that_are_left_are_seen() -> None:
    """Control: with the job's kill switched off the same experiments find who lives on, and the host is unhealthy."""
    status, out = examine("-c", CARELESS)
    found = mechanism_of(json.loads(out), "job_object")
    assert status == 1
    left = {each["name"]: each["left"] for each in found["experiments"] if each["name"] in KILLS}
    assert left["daemon"] == ["daemon"]
    assert left["new console"] == ["console"]
    assert "contains_escapees: claimed to be True, seen to be False" in found["mismatches"]


def test_for_people() -> None:
    """Without options a table is printed."""
    status, out = examine("-m", "treeguard", "doctor")
    assert status == 0
    assert all(word in out for word in (*MECHANISMS, *EXPERIMENTS, "auto picks job_object", "own job"))
