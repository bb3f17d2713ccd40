"""The completions and manual pages that a wheel carries: they say what the parser takes; their readers take them."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from treeguard._cli import parser_view
from treeguard._cli.commands import full_parser
from treeguard._cli.completion import SHELLS, script_for

from ..shipped import ROOT, shipped

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the options of other systems are others")

FILES = shipped()
PAGES = sorted(place for place in FILES if place.endswith(".1"))


def options() -> Iterator[tuple[str, str]]:
    """Each option, with the page that has to name it."""
    parser = full_parser()
    for option in parser_view.options_of(parser):
        yield from (("treeguard.1", name) for name in option.names)
    for command in parser_view.commands_of(parser):
        for option in command.options:
            yield from ((f"treeguard-{command.name}.1", name) for name in option.names)


@pytest.mark.parametrize("place", sorted(FILES))
def test_the_files_are_those_of_this_parser(place: str) -> None:
    """If not, ``python -m tests.shipped`` writes them."""
    assert (ROOT / place).read_text("utf-8") == FILES[place], "write it anew: python -m tests.shipped"


def test_no_other_files_are_shipped() -> None:
    """A page of a command that there is no more would stay."""
    assert {path.relative_to(ROOT).as_posix() for path in (ROOT / "share").rglob("*") if path.is_file()} == set(FILES)


def test_a_wheel_carries_them() -> None:
    """Each at its place below the prefix of an installation."""
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11")
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["data-files"]
    found = {}
    for place, patterns in declared.items():
        for pattern in patterns:
            found.update({f"{place}/{path.name}": path for path in ROOT.glob(pattern)})
    assert {place: path.relative_to(ROOT).as_posix() for place, path in found.items()} == {f: f for f in FILES}


@pytest.mark.parametrize(("page", "option"), sorted(set(options())))
def test_the_manual_names_every_option(page: str, option: str) -> None:
    """At the beginning of a paragraph of its own."""
    lines = FILES[f"share/man/man1/{page}"].splitlines()
    wanted = rf"\fB{option}\fR".replace("-", r"\-")
    assert any(tag == ".TP" and wanted in line for tag, line in itertools.pairwise(lines))


@pytest.mark.parametrize("place", PAGES)
@pytest.mark.parametrize(
    "reader",
    [
        ["groff", "-ww", "-man", "-Tutf8"],
        ["mandoc", "-Tlint", "-Wwarning"],
        ["man", "--warnings=w", "-l"],
    ],
    ids=lambda reader: reader[0],
)
def test_the_readers_of_manuals_take_them(reader: list[str], place: str) -> None:
    """Without a warning."""
    if shutil.which(reader[0]) is None:
        pytest.skip(f"{reader[0]} is not installed")
    done = subprocess.run([*reader, ROOT / place], capture_output=True, text=True, check=False)
    if reader[0] == "mandoc":
        assert [line for line in done.stdout.splitlines() if "missing date" not in line] == []
    else:
        assert (done.returncode, done.stderr) == (0, "")
        # Bold is a letter over itself.
        assert "SYNOPSIS" in re.sub(".\b", "", done.stdout)


def test_control_a_broken_page_is_noticed(tmp_path: Path) -> None:
    """The readers do complain."""
    if shutil.which("groff") is None:
        pytest.skip("groff is not installed")
    page = tmp_path / "broken.1"
    page.write_text(FILES["share/man/man1/treeguard.1"].replace(".SH NAME", ".XY NAME"))
    done = subprocess.run(["groff", "-ww", "-man", "-Tutf8", page], capture_output=True, text=True, check=False)
    assert "XY" in done.stderr


@pytest.mark.parametrize("shell", sorted(SHELLS))
def test_the_shells_take_their_scripts(shell: str, tmp_path: Path) -> None:
    """As far as they are installed."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    script = tmp_path / "script"
    script.write_text(script_for(shell))
    done = subprocess.run([shell, "-n", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("shell", sorted(SHELLS))
def test_the_scripts_know_every_command_and_option(shell: str) -> None:
    """Also of shells that are not installed here."""
    text = script_for(shell)
    for command in parser_view.commands_of(full_parser()):
        assert command.name in text
        for option in command.options:
            for name in option.names:
                long = name.startswith("--")
                assert (name if shell != "fish" else f"-{'l' if long else 's'} {name.lstrip('-')}") in text
