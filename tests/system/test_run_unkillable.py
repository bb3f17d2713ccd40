"""What ``treeguard run --timeout`` does with a command that cannot be killed: a bounded wait, 125, and who is left."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from treeguard._cli import supervision
from treeguard._cli.commands import main
from treeguard.types import Mechanism

from ..support import mounts
from ..support.jobs import eventually
from ..support.ordinary import USERS, become, reachable
from ..support.patience import PATIENCE
from ..support.programs import Programs
from .test_frozen import Freezer, freezing

__all__ = ["freezing"]

SOON = 0.5
RUN = ["run", "--timeout", "0.2", "--grace", "0.1"]
#: The command line, with a shorter wait for what is killed.
SHORT = (
    "import sys; from treeguard._cli import main, supervision; "
    f"supervision.KILLED_IN = {SOON}; sys.exit(main(sys.argv[1:]))"
)
ordinary = pytest.mark.skipif(len(USERS) == 1, reason="takes another user than the tests' own")


def words(name: str, pid: int) -> str:
    return f"treeguard run: not gone {SOON:g} seconds after SIGKILL: {name} ({pid})\n"


# Waiting in the kernel


def _stuck(mechanism: Mechanism, point: Path) -> list[object]:
    """The status, the words and the root's state when it waits for a frozen file system."""
    script = f"echo $$; exec 3>{point}/file"
    command = [sys.executable, "-c", SHORT, *RUN, "--containment", mechanism, "sh", "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        root = psutil.Process(int(process.stdout.readline()))
        status = process.wait(PATIENCE)
        state = root.status()
        # The root has the pipe, too.
        said = process.stderr.readline()
        subprocess.run(["fsfreeze", "--unfreeze", point], check=True)
        eventually(lambda: not root.is_running() or root.status() == psutil.STATUS_ZOMBIE, "nobody ends it")
    return [status, said == words("sh", root.pid), state]


def stuck(mechanism: Mechanism) -> list[object]:
    """The same, in a file system of its own. Empty if none can be had."""
    with tempfile.TemporaryDirectory() as directory:
        image, point = Path(directory) / "image", Path(directory) / "point"
        image.write_bytes(b"")
        os.truncate(image, 8 << 20)
        point.mkdir()
        for command in (["mkfs.ext4", "-q", str(image)], ["mount", "-o", "loop", str(image), str(point)]):
            if subprocess.run(command, capture_output=True, check=False).returncode:
                return []
        try:
            subprocess.run(["fsfreeze", "--freeze", point], check=True)
            try:
                return _stuck(mechanism, point)
            finally:
                subprocess.run(["fsfreeze", "--unfreeze", point], capture_output=True, check=False)
        finally:
            subprocess.run(["umount", "--lazy", point], check=True)


@pytest.mark.skipif(not all(map(shutil.which, ("mkfs.ext4", "fsfreeze"))), reason="takes e2fsprogs and util-linux")
@pytest.mark.parametrize("mechanism", ["auto", "subreaper", "process_group"])
def test_a_command_that_waits_in_the_kernel(mechanism: Mechanism) -> None:
    """As for a dead file server: SIGKILL has no effect before the wait is over."""
    found = mounts.run_with_mounts(stuck, mechanism)
    if not found:
        pytest.skip("no file system can be mounted here")
    assert found == [125, True, psutil.STATUS_DISK_SLEEP]


# As an ordinary user


@contextmanager
def run_as_ordinary(programs: Programs, *command: str) -> Iterator[tuple[int, psutil.Process, int]]:
    """Runs a command as an ordinary user. Its stand-in's pid, its root, and a pipe with what the stand-in says."""
    with reachable(programs):
        told, telling = os.pipe()
        heard, saying = os.pipe()
        pid = os.fork()
        if pid == 0:
            status = 99
            try:
                os.dup2(telling, 1)
                os.dup2(saying, 2)
                sys.stderr = os.fdopen(2, "w", encoding="utf-8")
                os.chdir("/")
                become(USERS["ordinary"])
                supervision.KILLED_IN = SOON
                status = main([*RUN, "--containment", "subreaper", *command])
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        os.close(telling)
        os.close(saying)
        root = psutil.Process(int(os.read(told, 20)))
        try:
            yield pid, root, heard
        finally:
            with contextlib.suppress(psutil.NoSuchProcess):
                root.kill()
            os.close(told)
            os.close(heard)


def status_of(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


#: Takes root's identity for good, so that the user who has started it may not signal it, and tells its process id.
OTHER_USER = r"""
#include <stdio.h>
#include <unistd.h>
int main(void)
{
    if (setresgid(0, 0, 0) || setresuid(0, 0, 0))
        return 1;
    printf("%d\n", (int)getpid());
    fflush(stdout);
    for (;;)
        pause();
}
"""


@ordinary
def test_a_command_of_another_user(programs: Programs) -> None:
    """A set-user-id program may not be signalled by those who start it."""
    with tempfile.TemporaryDirectory() as directory:
        if os.statvfs(directory).f_flag & os.ST_NOSUID:
            pytest.skip("set-user-id programs have no effect in the temporary directory")
        Path(directory).chmod(0o755)
        program = Path(directory) / "other"
        compiled = ["cc", "-D_GNU_SOURCE", "-x", "c", "-", "-o", str(program)]
        subprocess.run(compiled, input=OTHER_USER, text=True, check=True)
        program.chmod(0o4755)
        with run_as_ordinary(programs, str(program)) as (pid, root, heard):
            assert root.uids().real == 0
            assert status_of(pid) == 125
            assert os.read(heard, 500).decode() == words("other", root.pid)
            root.kill()
            eventually(lambda: not root.is_running(), "its guard does not reap it")


@ordinary
def test_a_command_that_others_have_frozen(programs: Programs, freezing: Freezer) -> None:
    """A freezer of version 1 keeps SIGKILL away until it is thawed."""
    with run_as_ordinary(programs, "sh", "-c", "echo $$; exec sleep 1000") as (pid, root, heard):
        freezing.take(root.pid)
        freezing.freeze()
        assert status_of(pid) == 125
        name = root.name()
        assert os.read(heard, 500).decode() == words(name, root.pid)
        freezing.thaw()
        eventually(lambda: not root.is_running(), "its guard does not end it")


def test_what_is_frozen_is_ended_where_it_can_be(freezing: Freezer) -> None:
    """Who may write to the freezer takes the command out of it: the timeout is all that is told."""
    command = [
        sys.executable,
        "-c",
        SHORT,
        "run",
        "--timeout",
        "1",
        "--grace",
        "0.1",
        "sh",
        "-c",
        "echo $$; exec sleep 1000",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        freezing.take(int(process.stdout.readline()))
        freezing.freeze()
        assert process.wait(PATIENCE) == 124
