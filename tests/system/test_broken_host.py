"""The command line in broken environments: it ends soon, with a status that says how, and without a traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ..support.broken import HOSTS, STREAMS, WORLDS, enter
from ..support.judge import survivors
from ..support.patience import SLOWNESS, wait_until

ROOT = Path(__file__).parents[2]
TREEGUARD = (sys.executable, "-m", "treeguard")
COMMANDS: dict[str, tuple[str, ...]] = {
    "run": ("run", "--", "sh", "-c", "exit 3"),
    "run a missing program": ("run", "--", "/no/such/program"),
    "doctor": ("doctor",),
    "doctor, for programs": ("doctor", "--json"),
    "demo": ("demo",),
    "help": ("--help",),
    "help of run": ("run", "--help"),
    "version": ("--version",),
    "nonsense": ("--nonsense",),
    "nothing": (),
}
#: Seconds. A doctor on a sound host takes one or two; two of these run at a time.
SOON = 30.0 * SLOWNESS

#: The statuses of those that say something else than whether they were able to.
SETTLED = {"run": {3}, "run a missing program": {127}, "nonsense": {2}, "nothing": {2}}
#: Where streams for the command cannot be had, or a tree not be started, that is no fault of the command.
HELPLESS = {"16 descriptors"}

every_command = pytest.mark.parametrize("command", COMMANDS)
#: What is done in which world: of those that take long, not all everywhere.
CASES = [
    *((environment, command) for environment in HOSTS for command in ("run", "doctor", "demo", "version")),
    *((environment, command) for environment in WORLDS for command in ("run", "run a missing program", "help of run")),
    *((environment, ("doctor", "demo")[i % 2]) for i, environment in enumerate(WORLDS)),
    ("16 descriptors", "doctor"),
]
#: The package is found wherever one stands.
PATH = {"PYTHONPATH": str(ROOT)}


def run(environment: str, command: str) -> tuple[int, str, str]:
    """Status, output and errors. Nothing is left of it."""
    whole = [*enter(environment), *TREEGUARD, *COMMANDS[command]]
    pipe = subprocess.PIPE
    begun = time.monotonic()
    with subprocess.Popen(
        whole, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, env={**os.environ, **PATH}
    ) as process:
        try:
            out, err = process.communicate(timeout=4 * SOON)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    took = time.monotonic() - begun
    assert took < SOON, f"{took:.1f} s: {out!r} {err!r}"
    assert b"Traceback" not in out + err, err.decode()
    assert b"Exception ignored" not in out + err, err.decode()
    for name in ("doctor", "demo"):
        wait_until(lambda name=name: not survivors(f"treeguard-{name}-{process.pid}-"), "nothing is left")  # type: ignore[misc]
    return process.returncode, out.decode(errors="replace"), err.decode(errors="replace")


@pytest.mark.parametrize(("environment", "command"), CASES)
def test_broken_world(environment: str, command: str) -> None:
    """What can be done is done; what cannot is said."""
    status, out, err = run(environment, command)
    if environment in HELPLESS and command in ("run", "run a missing program"):
        assert status in {*SETTLED[command], 125}
    else:
        assert status in SETTLED.get(command, {0, 1} if command.startswith(("doctor", "demo")) else {0})
    assert out or err or command == "run"


@every_command
@pytest.mark.parametrize("environment", STREAMS)
def test_streams(environment: str, command: str) -> None:
    """What cannot be written where it belongs is a failure, and said if that can be; a command's status is its own."""
    status, out, err = run(environment, command)
    unwritable = "output" in environment or environment in ("full streams", "no streams")
    if command in SETTLED:
        assert status in SETTLED[command]
    else:
        assert status == (0 if not unwritable else 125 if command == "help of run" else 1), err
        assert not unwritable or out == ""
        assert ("cannot write to standard output" in err) == (unwritable and "output" in environment)


@pytest.mark.parametrize("command", ["doctor", "doctor, for programs", "demo", "help", "help of run", "version"])
def test_reader_that_has_gone(command: str) -> None:
    """Where nobody reads any more it ends as a program does that SIGPIPE ends, and says nothing."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [*TREEGUARD, *COMMANDS[command]],
            cwd=ROOT,
            stdout=writing,
            stderr=subprocess.PIPE,
            timeout=SOON,
            check=False,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")


def test_what_cannot_be_seen_is_not_said_to_be_proved() -> None:
    """Without a look at processes nothing was tried, and the host is not called healthy."""
    for environment in ("no /proc", "another namespace's /proc"):
        status, out, _ = run(environment, "doctor")
        assert status == 1
        assert "not tried: /proc " in out
        assert "every claim matches" not in out
        status, out, err = run(environment, "demo")
        assert (status, out) == (1, "")
        assert err.startswith("treeguard demo: /proc ")


@pytest.mark.parametrize("command", ["doctor", "demo"])
def test_interrupted_from_the_keyboard(command: str) -> None:
    """^C ends it by that very signal, without a traceback, and nothing is left."""
    with subprocess.Popen(
        [*TREEGUARD, command], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        wait_until(lambda: survivors(f"treeguard-{command}-{process.pid}-") or process.poll() is not None, "it began")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=SOON)
    assert (process.returncode, err.decode()) == (-signal.SIGINT, "")
    wait_until(lambda: not survivors(f"treeguard-{command}-{process.pid}-"), "nothing is left")


def test_compiled_module_that_is_missing(tmp_path: Path) -> None:
    """A broken installation of another kind: one line, and the status of its own failures."""
    hide = "import sys; sys.modules['treeguard._treeguard'] = None; from treeguard._cli import main; sys.exit(main())"
    for command, expected in (("run", 125), ("doctor", 1), ("demo", 1)):
        done = subprocess.run(
            [sys.executable, "-c", hide, *COMMANDS[command]], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == expected
        assert done.stderr.startswith(f"treeguard {command}: this installation of treeguard is broken: ")
        assert done.stderr.count("\n") == 1
