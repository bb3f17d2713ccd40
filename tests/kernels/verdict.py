"""What became of a machine's runs, judged by what it wrote to its results disk, and by nothing else."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from .machines import Machine
from .suite import RUNS, Run

__all__ = ["Verdict", "judge", "unpacked"]

_NOTHING = ElementTree.Element("nothing")


class Verdict(NamedTuple):
    """A run's numbers, and what is wrong with it: nothing, if it passed."""

    machine: Machine
    who: str
    kernel: str
    auto: str
    passed: int
    failed: int
    skipped: int
    seconds: float
    problems: tuple[str, ...]


def unpacked(disk: Path) -> dict[str, bytes]:
    """The files on a results disk; none, if the guest came to no end that wrote it."""
    try:
        with tarfile.open(disk) as tar:
            files = {each.name.removeprefix("./"): tar.extractfile(each) for each in tar if each.isfile()}
            return {name: file.read() for name, file in files.items() if file is not None}
    except tarfile.TarError:
        return {}


def judge(machine: Machine, files: dict[str, bytes]) -> list[Verdict]:
    """One verdict for each run that should have been."""
    return [_judge_run(machine, run, files) for run in RUNS]


def _judge_run(machine: Machine, run: Run, files: dict[str, bytes]) -> Verdict:
    facts = _facts(files.get("facts.json", b""))
    auto = files.get(f"{run.who}/auto", b"").decode(errors="replace").strip()
    status = files.get(f"{run.who}/status", b"").decode(errors="replace").strip()
    junit = _junit(files.get(f"{run.who}/junit.xml", b""))
    cases = [_became(case) for case in junit.iter("testcase")]
    passed, skipped = cases.count("passed"), cases.count("skipped")
    failed = [str(case.get("name")) for case in junit.iter("testcase") if _became(case) == "failed"]
    problems = [
        *_strange(machine, facts),
        *([] if auto == run.auto else [f"auto picked {auto or 'nothing'}, not {run.auto}"]),
        *([] if status == "0" else [f"the exit status is {status or 'unknown'}"]),
        *([f"failed: {', '.join(failed)}"] if failed else []),
        *([] if passed else ["none passed"]),
        *(_unreal(run, junit) if machine.layout == "unified" else []),
    ]
    seconds = sum(float(suite.get("time", 0)) for suite in junit.iter("testsuite"))
    kernel = str(facts.get("kernel", ""))
    return Verdict(machine, run.who, kernel, auto, passed, len(failed), skipped, seconds, tuple(problems))


def _strange(machine: Machine, facts: dict[str, object]) -> Iterator[str]:
    """How a guest is another one than it should be: where ``cgroup.kill`` is missing, its fallback is what kills."""
    expected = {"version": machine.kernel, "layout": machine.layout, "cgroup.kill": machine.cgroup_kill}
    for name, value in expected.items():
        if facts.get(name) != value:
            yield f"{name} is {facts.get(name, 'unknown')}, not {value}"


def _unreal(run: Run, junit: ElementTree.Element) -> Iterator[str]:
    passed = {case.get("name") for case in junit.iter("testcase") if _became(case) == "passed"}
    for name in run.real:
        if name not in passed:
            yield f"{name} did not pass"


def _became(case: ElementTree.Element) -> str:
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed"
    return "skipped" if case.find("skipped") is not None else "passed"


def _facts(content: bytes) -> dict[str, object]:
    try:
        facts = json.loads(content)
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) else {}


def _junit(content: bytes) -> ElementTree.Element:
    try:
        return ElementTree.fromstring(content)
    except ElementTree.ParseError:
        return _NOTHING
