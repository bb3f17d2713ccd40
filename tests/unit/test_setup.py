"""Setting up: what is missing of the system is named before anything begins, with the command that installs it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the Makefile is for POSIX")

ROOT = Path(__file__).parents[2]
SETUP = ROOT / "tests" / "setup"


def needs(*arguments: str, **env: str) -> tuple[int, str]:
    """Status and words of the check."""
    done = subprocess.run(
        ["sh", str(SETUP / "needs.sh"), *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **env},
        check=False,
    )
    assert done.stdout == ""
    return done.returncode, done.stderr


def script(directory: Path, text: str) -> str:
    """An interpreter, or a compiler, that does what the script says."""
    path = directory / "program"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_nothing_is_said_where_nothing_is_missing(tmp_path: Path) -> None:
    """An interpreter and a compiler that can do all that is asked."""
    assert needs(script(tmp_path, "exit 0"), script(tmp_path, "exit 0")) == (0, "")


@pytest.mark.parametrize(
    ("fails", "package"),
    [("*ensurepip*", "python3-venv"), ("*Python.h*", "python3-dev"), ("-E*", "libc6-dev")],
)
def test_each_part_is_named(fails: str, package: str, tmp_path: Path) -> None:
    """What a part is missing is said by the name of its package."""
    program = script(tmp_path, f'case "$*" in {fails}) exit 1;; esac')
    status, said = needs(program, program)
    assert status == 1
    assert re.findall(r"Debian's package ([\w-]+)", said) == [package]


def test_nothing_at_all(tmp_path: Path) -> None:
    """All of it in one command, each package once."""
    status, said = needs("no-such-python", "no-such-compiler")
    assert status == 1
    named = re.findall(r"Debian's package ([\w-]+)", said)
    assert named == ["python3", "python3-dev", "python3-venv", "gcc", "libc6-dev"]
    (tmp_path / "apt-get").write_text("")
    (tmp_path / "apt-get").chmod(0o755)
    _, said = needs("no-such-python", "no-such-compiler", PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert said.rstrip().endswith("apt-get install --no-install-recommends " + " ".join(named))


def test_interpreter_that_is_too_old(tmp_path: Path) -> None:
    """Installing helps nobody then: another one is to be named."""
    status, said = needs(script(tmp_path, 'case "$*" in *version_info*) exit 1;; esac'), "true")
    assert status == 1
    assert "older than 3.10" in said
    assert "apt-get" not in said


def test_readme_names_all_of_it() -> None:
    """What the check may ask for is what README calls enough."""
    enough = re.search(r"^apt-get install (.+)$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert enough is not None
    asked = set(re.findall(r"lacks .*?([\w-]+)$", (SETUP / "needs.sh").read_text(encoding="utf-8"), re.MULTILINE))
    assert asked
    assert asked <= set(enough[1].split())


def test_the_demo_takes_no_linters() -> None:
    """What a demo stands on is the package alone; its requirements besides are those of an extra."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "\ndemo: $(BUILT)\n" in makefile
    (recipe,) = re.findall(r"^\$\(BUILT\):.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    assert "$(PIP) --editable .\n" in recipe


@pytest.mark.parametrize(("extra", "has", "lacks"), [("test", "pytest", "ruff"), ("lint", "ruff", "treeguard")])
def test_requirements_of_an_extra(extra: str, has: str, lacks: str) -> None:
    """The requirements of one extra, as pip takes them: with their conditions, without the package itself."""
    command = [sys.executable, str(SETUP / "extra.py"), extra]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    names = {re.split(r"[^\w-]", line)[0] for line in lines}
    assert has in names
    assert lacks not in names
    assert not [line for line in lines if "extra" in line]
