"""Completions of ``treeguard``, by the shells themselves."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from treeguard import LocalProcessManager, SpawnParams
from treeguard._cli.completion import script_for

from ..support.judge import look
from ..support.mechanisms import CONTAINING
from ..support.patience import PATIENCE

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the options of other systems are others")
needs_zsh = pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")

ASK = """
source "$1"
shift
COMP_WORDS=("$@")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
COMP_LINE="$*"
COMP_POINT=${#COMP_LINE}
_treeguard "$PROGRAM" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the scripts, and with a program ``treeguard`` that is this one."""
    place = tmp_path_factory.mktemp("completion")
    program = place / "bin" / "treeguard"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m treeguard "$@"\n')
    program.chmod(0o755)
    (place / "treeguard.bash").write_text(script_for("bash"))
    (place / "_treeguard").write_text(script_for("zsh"))
    return place


def offered(place: Path, *words: str) -> set[str]:
    """What bash's function offers for the last of these words."""
    done = subprocess.run(
        ["bash", "--norc", "--noprofile", "-c", ASK, "bash", place / "treeguard.bash", *words],
        env={**os.environ, "PROGRAM": str(place / "bin" / "treeguard")},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert done.stderr == ""
    return set(done.stdout.split())


CASES: list[tuple[Sequence[str], set[str], set[str]]] = [
    (("",), {"run", "ps", "kill", "doctor", "demo", "completion", "--version"}, {"--grace"}),
    (("k",), {"kill"}, {"run"}),
    (("run", "--"), {"--timeout", "--grace", "--help"}, {"--json"}),
    (("run", "--gr"), {"--grace"}, {"--timeout"}),
    (("run", "--containment", ""), {"auto", "cgroup", "subreaper"}, {"--grace", "sh"}),
    (("run", "--containment", "=", "sub"), {"subreaper"}, {"auto"}),
    (("run", "--containment", "="), {"subreaper", "auto"}, {"sh"}),
    (("run", "--require", "atomic"), {"atomic_kill"}, {"proves_empty"}),
    (("run", "--signal", "QU"), {"QUIT"}, {"TERM"}),
    (("run", "--timeout", ""), set(), {"--grace", "sh", "bash"}),
    (("run", "base"), {"basename"}, {"--grace"}),
    (("run", "--grace", "5", "--", "base"), {"basename"}, {"--grace"}),
    (("run", "--grace", "=", "5", "base"), {"basename"}, {"--grace"}),
    (("run", "cat", "/etc/pass"), {"/etc/passwd"}, {"--grace"}),
    (("run", "cat", "--gr"), set(), {"--grace"}),
    (("run", "--cwd", "/et"), {"/etc"}, {"--grace"}),
    (("run", "--user", "roo"), {"root"}, {"--grace"}),
    (("ps", "-"), {"--json", "--watch", "--members", "-a"}, {"--grace"}),
    (("kill", "-"), {"--force", "--signal", "-s"}, {"--json"}),
    (("completion", ""), {"bash", "zsh", "fish"}, {"run"}),
    (("doctor", ""), {"--json"}, {"run"}),
    (("nothing", ""), set(), {"run"}),
]


@pytest.mark.parametrize(
    ("words", "there", "not_there"), CASES, ids=lambda case: " ".join(case) if isinstance(case, tuple) else ""
)
def test_bash(place: Path, words: tuple[str, ...], there: set[str], not_there: set[str]) -> None:
    """Commands, options, their values; after run what COMMAND's own completion offers."""
    found = offered(place, "treeguard", *words)
    assert there <= found
    assert not not_there & found


@pytest.mark.parametrize("words", [("kill", ""), ("kill", "--force", "")])
async def test_bash_offers_the_trees(place: Path, words: tuple[str, ...]) -> None:
    """Those that there are, by what treeguard ps says."""
    async with LocalProcessManager(containment=CONTAINING[0]) as manager:
        child = await manager.spawn_child(SpawnParams("sleep", ("1000",), kind='"guard": 7,'))
        seen = look(child.os_pid)
        assert seen is not None
        found = offered(place, "treeguard", *words)
        assert str(seen.parent) in found
        assert "7" not in found


class Shell:
    """A shell on a terminal."""

    def __init__(self, place: Path, *command: str) -> None:
        self.main, other = pty.openpty()
        env = {
            **os.environ,
            "PATH": f"{place / 'bin'}:{os.environ['PATH']}",
            "TERM": "dumb",
            "PS1": "> ",
            "HOME": str(place),
        }
        self.process = subprocess.Popen(
            command, stdin=other, stdout=other, stderr=other, env=env, start_new_session=True
        )
        os.close(other)
        self.seen = b""

    def type(self, keys: str, until: str) -> None:
        """Types, and waits for an answer."""
        self.seen = b""
        os.write(self.main, keys.encode())
        deadline = time.monotonic() + PATIENCE
        while until.encode() not in self.seen:
            assert time.monotonic() < deadline, self.seen.decode("utf-8", "replace")
            if select.select([self.main], [], [], 0.1)[0]:
                self.seen += os.read(self.main, 4096)

    def __enter__(self) -> Shell:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.main)


def test_bash_at_the_tab_key(place: Path) -> None:
    """As it is installed: by ``complete -F``, in an interactive shell."""
    with Shell(place, "bash", "--norc", "--noprofile", "-i") as shell:
        shell.type(f"source {place / 'treeguard.bash'}; echo loa''ded\n", "loaded")
        shell.type("treeguard ki\t", "kill ")
        shell.type("--fo\t", "--force ")
        shell.type("\x15treeguard run --containment=subr\t", "subreaper ")


@needs_zsh
def test_zsh_at_the_tab_key(place: Path) -> None:
    """The same by its own system."""
    with Shell(place, "zsh", "-f", "-i") as shell:
        shell.type(f"fpath=({place} $fpath); autoload -U compinit; compinit -u -D; echo loa''ded\n", "loaded")
        shell.type("treeguard ki\t", "kill ")
        shell.type("--fo\t", "--force ")
        shell.type("\x15treeguard run --containment=subr\t", "subreaper")
        shell.type("\x15treeguard run --grace 5 -- basenam\t", "basename ")
        shell.type("\x15treeguard completion fi\t", "fish ")
