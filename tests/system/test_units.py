"""``treeguard run`` as the main process of a systemd unit: sockets, the watchdog, stop and reload.

Needs a systemd that is process 1, and root: ``make test-kernels`` has both.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ..support.patience import PATIENCE, SLOWNESS, wait_until

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/run/systemd/system").is_dir(), reason="needs root, and systemd as process 1"
)

_CHECKOUT = Path(__file__).parents[2]
RUN = (sys.executable, "-m", "treeguard", "run")
#: Seconds without a sign of life after which a service is ended.
WATCHDOG = 1 + SLOWNESS / 4
#: Seconds between two signs of life, or more.
PAUSE = 0.2

#: A server that writes what happens into a file, beside a daemon that it has started. While there is no file "hang" it
#: gives signs of life, if it is the one that has to.
SERVER = (
    f"PAUSE = {PAUSE}"
    + """
import os, select, signal, socket, sys, time
place = sys.argv[1]
own = str(os.getpid())
def note(text):
    with open(place + "/notes", "a") as notes:
        notes.write(text + "\\n")
def tell(text):
    if "NOTIFY_SOCKET" in os.environ:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.connect(os.environ["NOTIFY_SOCKET"].replace("@", "\\0", 1))
            out.send(text.encode())
def end(who):
    def handle(*_):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(0.2)
        note(who + " saved")
        os._exit(0)
    return handle
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, end("daemon"))
        note(f"daemon {os.getpid()}")
        while True: time.sleep(0.01)
    os._exit(0)
os.wait()
signal.signal(signal.SIGTERM, end("server"))
signal.signal(signal.SIGHUP, lambda *_: note("reloaded"))
watched = float(os.environ.get("WATCHDOG_USEC", "0")) if os.environ.get("WATCHDOG_PID") == own else 0
listening = int(os.environ.get("LISTEN_FDS", "0"))
note("cgroup " + open("/proc/self/cgroup").read().splitlines()[-1].rpartition(":")[2])
note(f"server {own}")
tell("READY=1")
while True:
    if watched and not os.path.exists(place + "/hang"):
        tell("WATCHDOG=1")
        note("alive")
    if select.select([3] if listening else [], [], [], PAUSE)[0]:
        client, _ = socket.socket(fileno=os.dup(3)).accept()
        client.sendall(b"mine" if os.environ.get("LISTEN_PID") == own else b"another's")
        client.close()
"""
)


class Unit:
    """A transient unit whose main process is some command, with the server at its end."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.name = f"treeguard-test-{uuid.uuid4().hex}"
        self.service = f"{self.name}.service"
        (place / "server.py").write_text(SERVER)

    def start(self, before: tuple[str, ...], *properties: str, options: tuple[str, ...] = ()) -> None:
        """Starts it, and waits until it is active."""
        settings = [f"--property={each}" for each in (f"TimeoutStartSec={PATIENCE}", *properties)]
        command = [*before, sys.executable, "-S", "-E", str(self.place / "server.py"), str(self.place)]
        where = [f"--unit={self.name}", f"--setenv=PYTHONPATH={_CHECKOUT}"]
        started = ["systemd-run", "--quiet", *where, *options, *settings, "--", *command]
        done = subprocess.run(started, timeout=PATIENCE, check=False)
        assert done.returncode == 0, self.control("status", "--full", "--lines=50")

    def control(self, verb: str, *arguments: str) -> str:
        """``systemctl``, and what it says."""
        command = ["systemctl", verb, *arguments, self.service]
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE * 3, check=False).stdout.strip()

    @property
    def notes(self) -> list[str]:
        """What the server has written."""
        path = self.place / "notes"
        return path.read_text().splitlines() if path.exists() else []

    def noted(self, word: str) -> str:
        """What follows a word in the notes."""
        return next(line.partition(" ")[2] for line in self.notes if line.startswith(f"{word} "))

    def up(self) -> list[Path]:
        """Waits until all of it runs. Returns what is in /proc as long as it does."""
        wait_until(lambda: {"daemon", "server"} <= {line.split()[0] for line in self.notes}, "it is up")
        main = self.control("show", "--property=MainPID", "--value")
        return [Path("/proc", pid) for pid in (main, self.noted("daemon"), self.noted("server"))]

    def remove(self) -> None:
        """Ends all of it, as systemd does."""
        for verb in ("stop", "reset-failed"):
            command = ["systemctl", verb, f"{self.name}.socket", self.service]
            subprocess.run(command, stderr=subprocess.DEVNULL, timeout=PATIENCE * 6, check=False)


@pytest.fixture
def unit(tmp_path: Path) -> Iterator[Unit]:
    """One that is gone after the test."""
    made = Unit(tmp_path)
    yield made
    made.remove()


@pytest.mark.parametrize(
    ("before", "said"),
    [
        pytest.param((*RUN, "--"), "mine", id="run"),
        # Another prefix that stays shows what the server would see.
        pytest.param(("/bin/sh", "-c", '"$@"; exit $?', "sh"), "another's", id="control"),
    ],
)
def test_socket_activation(unit: Unit, before: tuple[str, ...], said: str) -> None:
    """The first client starts the service, and the server finds the sockets to be its own."""
    path = unit.place / "s"
    before = tuple(word.replace("$", "$$") for word in before)
    unit.start(before, options=(f"--socket-property=ListenStream={path}",))
    assert not unit.notes
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        client.connect(str(path))
        assert client.recv(100).decode() == said


@pytest.mark.parametrize(
    ("options", "access"), [((), "NotifyAccess=all"), (("--notify",), "NotifyAccess=main")], ids=["all", "notify"]
)
def test_watchdog(unit: Unit, options: tuple[str, ...], access: str) -> None:
    """A server that gives signs of life stays; one that hangs is ended by systemd, and all of its tree."""
    unit.start((*RUN, *options, "--"), "Type=notify", access, f"WatchdogSec={WATCHDOG}")
    processes = unit.up()
    enough = 2 * WATCHDOG / PAUSE
    wait_until(lambda: unit.notes.count("alive") > enough, "it lives longer than without a sign", PATIENCE * 2)
    assert unit.control("is-active") == "active"
    (unit.place / "hang").touch()
    wait_until(lambda: unit.control("is-failed") == "failed", "systemd ends it")
    assert unit.control("show", "--property=Result", "--value") == "watchdog"
    assert not [each for each in processes if each.exists()]


@pytest.mark.parametrize(
    ("mode", "mechanism"),
    [("control-group", "subreaper"), ("mixed", "cgroup"), ("process", "cgroup")],
    ids=["control-group", "mixed", "process"],
)
def test_stop(unit: Unit, mode: str, mechanism: str) -> None:
    """Server and daemon save what they have, and nobody has to be killed. A delegated cgroup is divided."""
    delegate = "yes" if mechanism == "cgroup" else "no"
    unit.start((*RUN, "--containment", mechanism, "--"), f"KillMode={mode}", f"Delegate={delegate}")
    processes = unit.up()
    assert unit.noted("cgroup").endswith(unit.service) == (mechanism == "subreaper")
    unit.control("stop")
    assert not [each for each in processes if each.exists()]
    assert {"server saved", "daemon saved"} <= set(unit.notes)
    assert unit.control("is-failed") != "failed"


def test_reload(unit: Unit) -> None:
    """SIGHUP, which the main process gets, reaches the server and ends nobody, though there is no grace."""
    reload = f"ExecReload=/bin/kill -HUP {'$'}MAINPID"
    unit.start((*RUN, "--grace", "0", "--"), reload)
    processes = unit.up()
    count: Callable[[], int] = lambda: unit.notes.count("reloaded")  # noqa: E731
    for expected in (1, 2):
        unit.control("reload")
        wait_until(lambda: count() == expected, "it has heard")  # noqa: B023 - is called before the next one
    assert all(each.exists() for each in processes)
    assert unit.control("is-active") == "active"
