"""``treeguard run`` and the demo on Windows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ..support.patience import PATIENCE, wait_until
from ..support.programs import Programs
from .adversary import Adversary
from .marks import real_windows

ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "treeguard", "run", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=4 * PATIENCE,
        check=False,
    )


@pytest.mark.parametrize("code", [0, 3, 255])
def test_exit_status_is_the_commands(code: int) -> None:
    """The command's output passes through, and its status is ours."""
    done = run("--", "cmd.exe", "/d", "/c", f"echo out& exit {code}")
    assert (done.returncode, done.stdout.strip()) == (code, "out")


def test_command_that_is_not_found() -> None:
    """127, and a message that names it."""
    done = run("there-is-none")
    assert done.returncode == 127
    assert "there-is-none" in done.stderr


def test_timeout(programs: Programs) -> None:
    """124, and the command is gone."""
    assert run("--timeout", "0.5", "--grace", "0.5", "--", programs.tiny).returncode == 124


@pytest.mark.parametrize("adversary", ["fled"], indirect=True)
def test_what_the_command_leaves_is_ended(adversary: Adversary) -> None:
    """When the command has ended, so has what it started, and its status is told."""
    # The pipe is of no use here: further descriptors are not handed on by run.
    done = run("--", str(adversary.program), "fled")
    assert done.returncode == 7
    adversary.spawned()
    wait_until(lambda: not adversary.traces, "nothing is left")


def test_what_the_command_is_given(tmp_path: Path) -> None:
    """Variables and a directory."""
    options = ("--env", "TREEGUARD_A=1", "--unset-env", "TREEGUARD_B", "--cwd", str(tmp_path))
    done = run(*options, "--", "cmd.exe", "/d", "/c", "echo %TREEGUARD_A%& cd")
    assert done.stdout.splitlines()[0].strip() == "1"
    assert done.stdout.splitlines()[1].strip().casefold() == str(tmp_path).casefold()


@pytest.mark.parametrize(
    ("arguments", "ended", "status"),
    [
        (("cmd.exe", "/d", "/c", "exit 3"), "itself", 3),
        (("there-is-none",), "not_started", 127),
        (("--timeout", "0.5", "--grace", "0.2", "TINY"), "timeout", 124),
    ],
)
def test_report(programs: Programs, tmp_path: Path, arguments: tuple[str, ...], ended: str, status: int) -> None:
    """It tells how the tree ended, and nothing else is left beside it."""
    place = tmp_path / "report.json"
    words = [programs.tiny if word == "TINY" else word for word in arguments]
    assert run("--report", str(place), *words).returncode == status
    told = json.loads(place.read_text())
    assert (told["ended"], told["status"]) == (ended, status)
    assert (told["pid"] is None) == (ended == "not_started")
    assert [each.name for each in tmp_path.iterdir()] == ["report.json"]


@real_windows
def test_limits() -> None:
    """A job keeps them for the tree. Wine's does not."""
    done = run("--limits", "memory=512M,processes=20", "--", "cmd.exe", "/d", "/c", "exit 3")
    assert done.returncode == 3, done.stderr


@pytest.mark.parametrize("option", ["--user=x", "--umask=022", "--nice=1", "--notify", "--foreground", "--status-fd=3"])
def test_options_of_posix_are_unknown(option: str) -> None:
    """Rather than without effect."""
    done = run(option, "there-is-none")
    assert done.returncode == 125
    assert "unknown option" in done.stderr


@real_windows
def test_demo() -> None:
    """Every line of the demo is true. Under Wine it has a run of its own, beside the suite."""
    done = subprocess.run(
        [sys.executable, "-m", "treeguard", "demo"], cwd=ROOT, capture_output=True, timeout=8 * PATIENCE, check=False
    )
    assert done.returncode == 0, done.stdout
