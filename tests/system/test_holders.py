"""Who holds a pipe, as ``/proc`` shows it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from treeguard._core.inspection.holders import end_holders
from treeguard._core.inspection.left import holds, pipe_identity

from ..support.judge import look
from ..support.patience import wait_until


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def name_of(pid: int) -> str:
    seen = look(pid)
    return "" if seen is None else seen.name


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_process_that_is_being_started_is_no_holder(pipe: tuple[int, int]) -> None:
    """Before its exec it has copies of all that its parent has open. One that was given the pipe keeps it, and is."""
    identity = {pipe_identity(pipe[0])}
    newborn = os.fork()
    if newborn == 0:
        try:
            os.setsid()
            signal.alarm(60)
            signal.pause()
        finally:
            os._exit(0)
    with subprocess.Popen(["sleep", "1000"], stdout=pipe[1], start_new_session=True) as holder:
        try:
            wait_until(lambda: (seen := look(newborn)) is not None and seen.session == newborn, "it has a session")
            wait_until(
                lambda: (seen := look(holder.pid)) is not None and seen.name == "sleep", "it has got to its exec"
            )
            assert (holds(newborn, identity), holds(holder.pid, identity)) == (True, True)
            assert (holds(newborn, identity, for_good=True), holds(holder.pid, identity, for_good=True)) == (
                False,
                True,
            )
            assert [(each.pid, each.name) for each in end_holders(identity, 0)] == [(holder.pid, "sleep")]
            assert holder.wait(20) == -signal.SIGKILL
            seen = look(newborn)
            assert seen is not None
            assert seen.state != "Z"
        finally:
            holder.kill()
            os.kill(newborn, signal.SIGKILL)
            os.waitpid(newborn, 0)


def test_a_server_that_was_handed_the_pipe_lives_on(pipe: tuple[int, int]) -> None:
    """It began before the tree did. It is named all the same."""
    with subprocess.Popen(["sleep", "1000"], stdout=pipe[1], start_new_session=True) as server:
        try:
            wait_until(
                lambda: (seen := look(server.pid)) is not None and seen.name == "sleep", "it has got to its exec"
            )
            seen = look(server.pid)
            assert seen is not None
            assert [each.pid for each in end_holders({pipe_identity(pipe[0])}, seen.started + 1)] == [server.pid]
            assert server.poll() is None
        finally:
            server.kill()


#: Opens terminals until one has the given number, and holds that.
_HOLDER = """
import fcntl, os, sys, time
held = []
while True:
    master = os.open("/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY)
    held.append(master)
    # Numbers are given out from 0.
    if len(held) > int(sys.argv[1].rpartition("/")[2]):
        break
fcntl.ioctl(master, 0x40045431, bytes(4))  # TIOCSPTLCK: unlocks the other end
os.set_inheritable(os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY), True)
print("held", flush=True)
time.sleep(1000)
"""
_OTHER_TERMINALS = ["unshare", "--mount", "sh", "-c", 'mount -t devpts -o newinstance none /dev/pts && exec "$@"', "sh"]


def test_a_terminal_of_a_container_with_the_same_path_is_another() -> None:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("terminals of one's own take privileges, and unshare(1)")
    ours = os.openpty()
    path = os.ttyname(ours[1])
    command = [*_OTHER_TERMINALS, sys.executable, "-c", _HOLDER, path]
    try:
        with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as stranger:
            try:
                assert stranger.stdout is not None
                assert stranger.stdout.readline() == b"held\n"
                links = [str(link.readlink()) for link in Path(f"/proc/{stranger.pid}/fd").iterdir()]
                assert path in links
                assert end_holders({path}, 0) == ()
                assert stranger.poll() is None
            finally:
                stranger.kill()
    finally:
        for end in ours:
            os.close(end)
