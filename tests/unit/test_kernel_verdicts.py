"""The judge of the runs on real kernels: a run passes only if all that it should have left is there, and good."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from ..kernels.machines import MACHINES
from ..kernels.suite import RUNS, Run
from ..kernels.table import table
from ..kernels.verdict import judge, unpacked

MACHINE = MACHINES["5.10"]
FACTS = {"kernel": "5.10.0-32-cloud-amd64", "version": "5.10", "layout": "unified", "cgroup.kill": False}
ROOM = 1 << 20


def junit(*cases: str, who: Run = RUNS[0]) -> bytes:
    """A report of a test that passed, of one that was skipped, of those that must be real, and of some more."""
    real = "".join(f'<testcase name="{name}"/>' for name in who.real)
    ordinary = '<testcase name="test_a"/><testcase name="test_b"><skipped/></testcase>'
    return f'<testsuites><testsuite time="12.5">{ordinary}{real}{"".join(cases)}</testsuite></testsuites>'.encode()


def good() -> dict[str, bytes]:
    """What a machine leaves when everything passed."""
    files = {"facts.json": json.dumps(FACTS).encode()}
    for run in RUNS:
        files[f"{run.who}/auto"] = run.auto.encode()
        files[f"{run.who}/status"] = b"0\n"
        files[f"{run.who}/junit.xml"] = junit(who=run)
    return files


def disk(path: Path, files: dict[str, bytes]) -> Path:
    """A results disk, as a guest writes it."""
    with path.open("wb") as raw:
        with tarfile.open(fileobj=raw, mode="w") as tar:
            for name, content in files.items():
                member = tarfile.TarInfo(f"./{name}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
        raw.truncate(ROOM)
    return path


def test_good_results_pass(tmp_path: Path) -> None:
    """All runs are counted, and nothing is wrong."""
    verdicts = judge(MACHINE, unpacked(disk(tmp_path / "disk", good())))
    assert [verdict.who for verdict in verdicts] == [run.who for run in RUNS]
    for verdict, run in zip(verdicts, RUNS, strict=True):
        assert verdict[4:] == (1 + len(run.real), 0, 1, 12.5, ())
    assert all(line.endswith("ok") for line in table(verdicts).splitlines()[1:])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("status", b"1\n"),
        ("status", b""),
        ("junit.xml", junit('<testcase name="test_c"><failure/></testcase>')),
        ("junit.xml", junit('<testcase name="test_c"><error/></testcase>')),
        ("junit.xml", b"<testsuites/>"),
        ("junit.xml", b'<testsuite><testcase name="test_b"><skipped/></testcase></testsuite>'),
        ("junit.xml", junit()[:-20]),
        ("junit.xml", b""),
        ("auto", b"process_group\n"),
        ("auto", b"Traceback\n"),
    ],
)
@pytest.mark.parametrize("who", [run.who for run in RUNS])
def test_bad_run_is_a_failure(who: str, name: str, content: bytes) -> None:
    """One thing that is not as it should be fails the run, and no other one."""
    verdicts = judge(MACHINE, {**good(), f"{who}/{name}": content})
    assert [verdict.who for verdict in verdicts if verdict.problems] == [who]
    assert [line.endswith("ok") for line in table(verdicts).splitlines()[1:]].count(False) == 1


@pytest.mark.parametrize("name", sorted(good()))
def test_missing_file_is_a_failure(name: str) -> None:
    """Whatever is missing fails the runs that it tells of."""
    left = {each: content for each, content in good().items() if each != name}
    failed = {verdict.who for verdict in judge(MACHINE, left) if verdict.problems}
    assert failed == ({run.who for run in RUNS} if name == "facts.json" else {name.partition("/")[0]})


@pytest.mark.parametrize("run", [run for run in RUNS if run.real], ids=lambda run: run.who)
def test_what_is_skipped_was_not_real(run: Run) -> None:
    """Limits that were not tried fail the run, but where no controller is to be had."""
    files = good()
    skipped = f'<testcase name="{run.real[0]}"><skipped/></testcase>'.encode()
    path = f"{run.who}/junit.xml"
    files[path] = files[path].replace(f'<testcase name="{run.real[0]}"/>'.encode(), skipped)
    assert [verdict.who for verdict in judge(MACHINE, files) if verdict.problems] == [run.who]
    files["facts.json"] = json.dumps({**FACTS, "layout": "hybrid"}).encode()
    assert not any(verdict.problems for verdict in judge(MACHINES["5.10-hybrid"], files))


@pytest.mark.parametrize(
    "facts",
    [{**FACTS, "version": "6.1"}, {**FACTS, "layout": "hybrid"}, {**FACTS, "cgroup.kill": True}, {}, [], "5.10"],
)
def test_other_machine_is_a_failure(facts: object) -> None:
    """Results of another kernel or layout prove nothing."""
    assert all(verdict.problems for verdict in judge(MACHINE, {**good(), "facts.json": json.dumps(facts).encode()}))


def test_no_results_are_a_failure(tmp_path: Path) -> None:
    """A guest that never wrote its results, or not to their end, passed nothing."""
    path = disk(tmp_path / "disk", good())
    content = path.read_bytes()
    for left in (b"", bytes(ROOM), content[: 3 * 512 + 100], b"x" * ROOM):
        path.write_bytes(left)
        assert all(verdict.problems for verdict in judge(MACHINE, unpacked(path))), len(left)


@pytest.mark.parametrize("run", RUNS, ids=[run.who for run in RUNS])
def test_what_is_run_is_there(run: Run) -> None:
    """A renamed file would leave nothing to run."""
    root = Path(__file__).parents[2]
    files = [argument for argument in run.tests if argument.endswith(".py")]
    assert files
    assert all((root / file).is_file() for file in files), files
