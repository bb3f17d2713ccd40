"""``treeguard run --notify``: what a command tells by sd_notify reaches the service manager of its stand-in."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..support.patience import PATIENCE
from .test_run import FOREVER, RUN, Start, end_input, line_of, run, start

__all__ = ["start"]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the protocol is Linux's")

PYTHON = (sys.executable, "-S", "-E", "-c")
#: Sends each argument in a datagram; then waits for the end of its input.
TELL = """
import os, socket, sys
address = os.environ["NOTIFY_SOCKET"].replace("@", chr(0), 1)
told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
for text in sys.argv[1:]:
    told.sendto(text.replace("%d", str(os.getpid())).encode(), address)
print("told", flush=True)
sys.stdin.read()
"""


class ServiceManager:
    """A socket that services notify, and who they are."""

    def __init__(self, place: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.socket.settimeout(PATIENCE)
        self.socket.bind(str(place))
        self.env = {**os.environ, "NOTIFY_SOCKET": str(place)}

    def heard(self) -> tuple[str, int]:
        """The next datagram, and the process id of its sender."""
        text, ancillary, _, _ = self.socket.recvmsg(4096, 100)
        sender: int = struct.unpack("iII", ancillary[0][2])[0]
        return text.decode(), sender

    def silent(self) -> bool:
        """Whether nothing has come."""
        self.socket.setblocking(False)
        try:
            self.socket.recv(4096)
        except BlockingIOError:
            return True
        return False


@pytest.fixture
def above(tmp_path: Path) -> Iterator[ServiceManager]:
    manager = ServiceManager(tmp_path / "notify")
    with manager.socket:
        yield manager


@pytest.mark.parametrize("mechanism", ["auto", "subreaper", "process_group"])
def test_it_says_what_the_command_says(start: Start, above: ServiceManager, mechanism: str) -> None:
    """In the same order, as itself: a service manager believes its main process, and nobody else by default."""
    texts = ["STATUS=begun", "READY=1\nSTATUS=it works", "WATCHDOG=1", "X_MORE=1", "STOPPING=1"]
    process = start("--notify", "--containment", mechanism, *PYTHON, TELL, *texts, env=above.env)
    assert [above.heard() for _ in texts] == [(text, process.pid) for text in texts]
    end_input(process)
    assert process.wait(PATIENCE) == 0


def test_without_the_option_the_command_speaks_for_itself(start: Start, above: ServiceManager) -> None:
    """Its socket is the service manager's own."""
    process = start(*PYTHON, TELL, "READY=1", env=above.env)
    text, sender = above.heard()
    assert text == "READY=1"
    assert sender != process.pid


def test_its_descendants_are_believed_and_nobody_else(start: Start, above: ServiceManager) -> None:
    """A stranger who knows the address is not."""
    script = 'echo "$NOTIFY_SOCKET"; read x; "$@"'
    process = start("--notify", "sh", "-c", script, "sh", *PYTHON, TELL, "READY=1", env=above.env)
    address = line_of(process)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(b"STATUS=a stranger was here", "\0" + address[1:])
        assert process.stdin is not None
        process.stdin.write(b"\n")
        assert above.heard() == ("READY=1", process.pid)
    assert line_of(process) == "told"
    assert above.silent()


def test_what_is_not_passed_on(start: Start, above: ServiceManager) -> None:
    """The stand-in stays the main process, descriptors are not stored, and a barrier is answered here."""
    texts = ["MAINPID=%d\nREADY=1\nMAINPIDFDID=7", "FDSTORE=1\nFDNAME=it", "BARRIER=1", "STATUS=over"]
    process = start("--notify", *PYTHON, TELL, *texts, env=above.env)
    assert [above.heard()[0] for _ in range(2)] == ["READY=1", "STATUS=over"]
    assert process.poll() is None


@pytest.mark.parametrize("setting", ["WATCHDOG_USEC=5000000", "EXTEND_TIMEOUT_USEC=5000000"])
def test_times_are_set_by_the_main_process_alone(start: Start, above: ServiceManager, setting: str) -> None:
    """Any other could keep a watchdog from firing."""
    tell = ("sh", "-c", '"$@" </dev/null; exec "$@"', "sh", *PYTHON, TELL, f"STATUS=now\n{setting}")
    start("--notify", *tell, env=above.env)
    assert above.heard()[0] == "STATUS=now"
    assert above.heard()[0] == f"STATUS=now\n{setting}"


def test_the_last_words_of_a_command(start: Start, above: ServiceManager) -> None:
    """They are passed on even if it ends at once."""
    for number in range(5):
        process = start("--notify", *PYTHON, TELL, f"STATUS={number}", env=above.env)
        end_input(process)
        assert above.heard() == (f"STATUS={number}", process.pid)
        assert process.wait(PATIENCE) == 0


def test_a_service_manager_that_is_busy(start: Start, above: ServiceManager) -> None:
    """Nothing is lost, and the order is kept."""
    texts = [f"STATUS={number}" for number in range(100)]
    process = start("--notify", *PYTHON, TELL, *texts, env=above.env)
    assert line_of(process) == "told"
    assert [above.heard()[0] for _ in texts] == texts


def test_a_service_manager_that_never_reads(start: Start, above: ServiceManager) -> None:
    """Does not keep the stand-in from ending."""
    process = start("--notify", *PYTHON, TELL, *map(str, range(100)), env=above.env)
    assert line_of(process) == "told"
    end_input(process)
    assert process.wait(PATIENCE) == 0


def test_a_service_manager_that_is_gone(tmp_path: Path) -> None:
    """Is told once, and changes nothing else."""
    env = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "nobody")}
    done = run("--notify", *PYTHON, TELL, "READY=1", "STOPPING=1", env=env)
    assert (done.returncode, done.stdout) == (0, b"told\n")
    assert (
        done.stderr.decode() == f"treeguard run: --notify: cannot reach {tmp_path}/nobody: No such file or directory\n"
    )


def test_ready_is_an_event(start: Start) -> None:
    """It is told once, and in the report, also where there is no service manager."""
    reader, writer = os.pipe()
    env = {name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"}
    with os.fdopen(reader, encoding="ascii") as events:
        try:
            options = ("--notify", "--status-fd", str(writer))
            process = start(*options, *PYTHON, TELL, "READY=1", "READY=1", env=env, pass_fds=(writer,))
        finally:
            os.close(writer)
        assert json.loads(events.readline())["event"] == "started"
        assert json.loads(events.readline()) == {"event": "ready"}
        end_input(process)
        ended = json.loads(events.readline())
        assert (ended["event"], ended["ready"]) == ("ended", True)


@pytest.mark.parametrize(("options", "ready"), [((), None), (("--notify",), False)])
def test_a_report_of_what_was_never_ready(tmp_path: Path, options: tuple[str, ...], ready: bool | None) -> None:
    """Is another one than where nobody could tell."""
    run(*options, "--report", str(tmp_path / "report"), "true")
    assert json.loads((tmp_path / "report").read_text())["ready"] is ready


#: Is a service with a watchdog, and becomes what follows.
_WATCHED = """
import os, sys
os.environ.update(WATCHDOG_PID=str(os.getpid()), WATCHDOG_USEC="30000000")
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def test_the_watchdog_is_the_commands(above: ServiceManager) -> None:
    """Its variables name the command, which has another socket."""
    show = 'echo $WATCHDOG_USEC; test "$WATCHDOG_PID" = $$ && echo own; test "$NOTIFY_SOCKET" = "$1" || echo other'
    command = [*PYTHON, _WATCHED, *RUN[1:], "--notify", "sh", "-c", show, "sh", above.env["NOTIFY_SOCKET"]]
    done = subprocess.run(command, env=above.env, capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert done.stdout.split() == ["30000000", "own", "other"]


@pytest.mark.skipif(shutil.which("systemd-notify") is None, reason="no systemd-notify")
def test_systemds_own_program(start: Start, above: ServiceManager) -> None:
    """It waits until its message was read."""
    script = f"systemd-notify --ready --status=fine && echo said; exec sleep {FOREVER}"
    process = start("--notify", "sh", "-c", script, env=above.env)
    text, sender = above.heard()
    assert (sorted(text.split("\n")), sender) == (["READY=1", "STATUS=fine"], process.pid)
    assert line_of(process) == "said"
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == -signal.SIGTERM
