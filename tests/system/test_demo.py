"""``treeguard demo``: its lines are true where the promise holds, false where it doesn't, and nothing is left of it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ..support import mechanisms
from ..support.judge import carriers, survivors
from ..support.patience import PATIENCE, wait_until

DEMO = (sys.executable, "-m", "treeguard", "demo")
LINE = re.compile(r"^  ([✓✗+x]) (.*?) +[\d.]+ ms$", re.MULTILINE)
#: A library that says that it killed, and didn't.
LIAR = """
from treeguard.local import LocalProcessManager

async def kill_tree(self, pid):
    pass

async def wait_for_exit(self, pid, timeout=None):
    return timeout != 0

LocalProcessManager.kill_tree = kill_tree
LocalProcessManager.wait_for_exit = wait_for_exit
from treeguard._cli import main
raise SystemExit(main(["demo"]))
"""
#: The number of a user that no system has.
STRANGER = 65533


class Told:
    """What a demo said, checked for having left nothing behind."""

    def __init__(self, command: tuple[str, ...], **env: str) -> None:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**_environ(), **env}
        )
        out, err = process.communicate(timeout=3 * PATIENCE)
        self.out, self.err, self.status = out.decode(), err.decode(), process.returncode
        self.lines = {text.partition(":")[0]: mark in "✓+" for mark, text in LINE.findall(self.out)}
        assert survivors(_marker(process)) == []


def _environ() -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHONIO"))}
    return {**plain, "LC_ALL": "C.UTF-8"}


def _marker(process: subprocess.Popen[bytes]) -> str:
    return f"treeguard-demo-{process.pid}-"


@pytest.mark.parametrize("asked", ["auto", *mechanisms.CONTAINING])
def test_every_line_is_true(asked: str) -> None:
    """Where a mechanism contains escapees, the demo confirms each line and exits 0."""
    told = Told((*DEMO, "--containment", asked))
    assert told.status == 0, told.out + told.err
    assert told.err == ""
    assert len(told.lines) >= 6
    assert all(told.lines.values())
    assert "saved: the demo is over" in told.out
    assert "  ✓ acknowledged, exited, not forced" in told.out
    assert "  ✓ not acknowledged, exited, forced" in told.out


def test_it_takes_less_than_five_seconds() -> None:
    """The demo says how long it took, and that is not long. A host that is busy just now is given other chances."""
    took: list[float] = []
    while not took or (took[-1] >= 5 and len(took) < 5):
        words = re.search(r"\(([\d.]+) s\)$", Told(DEMO).out.strip())
        assert words is not None
        took.append(float(words[1]))
    assert min(took) < 5 * PATIENCE / 20


def test_escapees_are_seen() -> None:
    """A mechanism that lets escapees go is found out: just those lines are false that are about them."""
    told = Told((*DEMO, "--containment", "process_group"))
    assert told.status == 1
    assert [text for text, true in told.lines.items() if not true] == ["killed", "supervisor killed"]
    assert "  ✗ killed: 1 of 4 left: daemon" in told.out
    assert told.out.splitlines()[-1].startswith("✗")


def test_the_library_is_not_believed() -> None:
    """A library that claims kills that never happened is found out, and what it left is ended all the same."""
    told = Told((sys.executable, "-c", LIAR))
    assert told.status == 1
    assert not told.lines["killed"]
    assert "4 of 4 left" in told.out


@pytest.mark.parametrize("env", [{"LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}])
def test_plain_terminals(env: dict[str, str]) -> None:
    """Where marks and frames cannot be written, ASCII is, and nothing fails."""
    told = Told(DEMO, **env)
    assert told.status == 0, told.err
    assert told.out.isascii()
    assert all(told.lines.values())


def test_an_unavailable_mechanism_is_refused() -> None:
    """A mechanism that the host cannot give is an error that says why; nothing is shown."""
    told = Told((*DEMO, "--containment", "job_object"))
    assert told.status == 1
    assert told.out == ""
    assert told.err.startswith("treeguard demo: containment 'job_object' is not available here: ")


def test_no_files_are_left(tmp_path: Path) -> None:
    """What the demo writes to has no name afterwards."""
    assert Told(DEMO, TMPDIR=str(tmp_path)).status == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="every test of an ordinary user's is such a test")
def test_it_needs_no_privilege() -> None:
    """An ordinary user sees the same."""

    def start(*command: str) -> subprocess.Popen[bytes]:
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, user=STRANGER, group=STRANGER, extra_groups=[], cwd="/", env=_environ(), stdout=pipe, stderr=pipe
        )

    try:
        with start(sys.executable, "-c", "import treeguard") as reader:
            reader.communicate(timeout=3 * PATIENCE)
        readable = reader.returncode == 0
    except PermissionError:
        readable = False
    if not readable:
        pytest.skip("an ordinary user cannot read this installation")
    with start(*DEMO) as process:
        out, err = process.communicate(timeout=3 * PATIENCE)
    assert process.returncode == 0, (out + err).decode()
    assert survivors(_marker(process)) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("scene", [1, 4])
def test_an_interrupted_demo_leaves_nothing(number: signal.Signals, scene: int) -> None:
    """Ended while a tree of it lives, also another supervisor's, the demo takes that tree along."""
    with subprocess.Popen(DEMO, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=_environ()) as process:
        assert process.stdout is not None
        while scene and (text := process.stdout.readline()):
            scene -= text == b"\n"
        wait_until(lambda: carriers(_marker(process)) or process.poll() is not None, "a tree lives")
        process.send_signal(number)
    wait_until(lambda: not carriers(_marker(process)), "nothing is left")
