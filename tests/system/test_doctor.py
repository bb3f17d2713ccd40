"""``treeguard doctor``: what it says of a mechanism is what it saw, and claims that don't hold are errors."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from treeguard._cli.doctor import Examination, Report
from treeguard._cli.experiments import EXPERIMENTS
from treeguard._core.containment.guarantees import MECHANISMS
from treeguard._core.containment.isolation import try_isolation

from ..support import mechanisms
from ..support.judge import survivors
from ..support.patience import PATIENCE

DOCTOR = (sys.executable, "-m", "treeguard", "doctor")
#: A process group that claims what it cannot do.
BOASTER = """
import msgspec
from treeguard._core.containment import guarantees as containment
modest = containment._GUARANTEES["process_group"]
containment._GUARANTEES["process_group"] = msgspec.structs.replace(modest, {claim}=True)
from treeguard._cli import main
raise SystemExit(main(["doctor", "--json"]))
"""
#: What is done to the experiments, so that they succeed without what they are to show; and what is said of it.
DECEIVED = {
    "the supervisor leaves in order": (
        "stage.Supervisor.kill = lambda self: self._process.stdin.close()",
        "not tried: the supervisor had ended before it was killed",
    ),
    "the guard is not killed": (
        "experiments.marked_processes = types.SimpleNamespace(**{**vars(look), 'kill_if': lambda pid, meant: False})",
        "not tried: the guard could not be killed",
    ),
    "the processes leave by themselves": (
        "stage.LIFE = 0",
        "not tried: it took so long that the processes may have ended by themselves",
    ),
    "nothing can be seen": (
        "look.iter_pids = lambda: iter(())",
        "not tried: /proc does not show this process",
    ),
}
DECEIVER = """
import types
from treeguard._cli import experiments
from treeguard._cli import marked_processes as look
from treeguard._cli import main
from treeguard._cli import sample_supervisor as stage
{deceit}
raise SystemExit(main(["doctor", "--json"]))
"""


def examine(*command: str, **env: str) -> tuple[int, str]:
    """Runs a doctor: its exit status and what it said. Checks that it left nothing and complained of nothing."""
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **env}
    )
    out, err = process.communicate(timeout=3 * PATIENCE)
    assert err.decode() == ""
    assert survivors(f"treeguard-doctor-{process.pid}-") == []
    return process.returncode, out.decode()


def report_of(out: str) -> Report:
    """The JSON document, checked for types."""
    return msgspec.json.decode(out, type=Report)


def mechanism_of(report: Report, name: str) -> Examination:
    """What was found out of one mechanism."""
    return next(each for each in report.mechanisms if each.mechanism == name)


@pytest.fixture(scope="module")
def report() -> Report:
    """One examination of this host, looked at by several tests."""
    status, out = examine(*DOCTOR, "--json")
    assert status == 0, out
    return report_of(out)


def test_a_healthy_host(report: Report) -> None:
    """Every mechanism is told of, with a reason or with what was tried; auto picks the first that works."""
    assert report.healthy
    assert [each.mechanism for each in report.mechanisms] == list(MECHANISMS)
    automatic = [each for each in report.mechanisms if each.mechanism != "pid_namespace"]
    assert report.auto == next(each.mechanism for each in automatic if each.available)
    for each in report.mechanisms:
        assert each.available == (each.reason is None) == (each.claimed is not None)
        assert [done.name for done in each.experiments] == (list(EXPERIMENTS) if each.available else [])
        assert each.mismatches == ()


@pytest.mark.parametrize("name", mechanisms.CONTAINING)
def test_containment_is_proved(report: Report, name: str) -> None:
    """Each kind of escapee was ended, and so was what a killed supervisor left."""
    found = mechanism_of(report, name)
    ended = {done.name for done in found.experiments if done.ended}
    assert ended >= set(EXPERIMENTS) - {"guard killed"}
    assert all(done.seconds is not None for done in found.experiments if done.ended)
    guarantees = ("contains_escapees", "proves_empty", "reaps_orphans", "outlives_supervisor")
    assert all(found.proved[guarantee] for guarantee in guarantees)


def test_escapees_are_seen(report: Report) -> None:
    """Of a process group escapees are left, and seen to be."""
    found = mechanism_of(report, "process_group")
    left = {done.name: done.left for done in found.experiments if done.ended is False}
    assert left["new session"] == ("session",)
    assert left["daemon"] == ("daemon",)
    assert set(left["supervisor killed"]) >= {"session", "daemon"}
    assert not found.proved["contains_escapees"]


def test_isolation_is_told(report: Report) -> None:
    """Whether a mechanism isolates its trees, or why it does not, is what a manager would say."""
    for each in report.mechanisms:
        if each.claimed is None:
            assert (each.isolates, each.exposed) == (False, None)
            continue
        assert each.exposed == try_isolation(each.claimed)
        assert each.isolates == (each.exposed is None)
    assert "has none of" in (mechanism_of(report, "process_group").exposed or "")


def test_facts(report: Report) -> None:
    """The guard is there, and the kernel is the one that is running."""
    assert report.host.guard.executable
    assert report.host.guard.size == Path(report.host.guard.path).stat().st_size
    assert report.host.kernel == os.uname().release
    assert report.host.uid == os.geteuid()
    assert set(report.host.calls) >= {"clone3", "close_range", "pidfd_open"}


@pytest.mark.parametrize("claim", ["contains_escapees", "proves_empty", "reaps_orphans", "outlives_supervisor"])
def test_a_claim_that_does_not_hold_is_an_error(claim: str) -> None:
    """A mechanism that claims more than was seen makes the host unhealthy, and the claim is named."""
    status, out = examine(sys.executable, "-c", BOASTER.format(claim=claim))
    report = report_of(out)
    assert status == 1
    assert not report.healthy
    assert mechanism_of(report, "process_group").mismatches == (f"{claim}: claimed to be True, seen to be False",)


@pytest.mark.parametrize("deceit", DECEIVED)
def test_success_for_another_reason_is_none(deceit: str) -> None:
    """Control: an experiment that could succeed without what it is to show counts as not made, and that is said."""
    code, words = DECEIVED[deceit]
    status, out = examine(sys.executable, "-c", DECEIVER.format(deceit=code))
    report = report_of(out)
    assert (status, report.healthy) == (1, False)
    assert words in mechanism_of(report, "subreaper").mismatches


def test_for_people() -> None:
    """Without options a table is printed; in ASCII where nothing else can be shown."""
    status, out = examine(*DOCTOR, LC_ALL="C")
    assert status == 0
    assert out.isascii()
    assert all(word in out for word in (*MECHANISMS, *EXPERIMENTS, "isolation", "auto picks"))
    assert max(map(len, out.splitlines()[:10])) <= 100
    # No cell runs into the next one, however much it says.
    table = out.split("\n\n")[1].splitlines()
    begins = [found.end() for found in re.finditer(r"  +", table[0])]
    rows = table[: [line.startswith("  isolation") for line in table].index(True) + 1]
    assert [row[begin - 2 : begin] for row in rows[1:] for begin in begins] == ["  "] * len(begins) * (len(rows) - 1)
