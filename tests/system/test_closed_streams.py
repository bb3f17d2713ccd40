"""Programs that have closed their standard streams: what they open next gets these numbers, and is not a child's."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

import pytest

from ..support.patience import PATIENCE

#: Closes the streams that it is told, and says what a command has as its standard input and error.
HOST = """
import os, sys
from treeguard import DEVNULL, PIPE, subprocess

report = os.dup2(1, 100, inheritable=False)
for number in sys.argv[1]:
    os.close(int(number))
command = ["readlink", "/proc/self/fd/0", "/proc/self/fd/2"]
for given in ({}, {"stdin": DEVNULL}, {"stdin": PIPE}, {"stderr": PIPE}):
    os.write(report, subprocess.run(command, stdout=PIPE, **given).stdout + b"-")
secret = os.open("/etc/hostname" if os.path.exists("/etc/hostname") else "/", os.O_RDONLY)
os.write(report, subprocess.run(command, stdout=PIPE).stdout)
"""
CLOSED = ["".join(each) for n in range(4) for each in itertools.combinations("012", n)]


@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")
@pytest.mark.parametrize("closed", CLOSED)
def test_no_pipe_and_no_file_becomes_a_stream(closed: str) -> None:
    """A command that inherits a closed stream has it closed, or the null device, and nothing of the host's."""
    host = subprocess.run(
        [sys.executable, "-c", HOST, closed],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=None if "2" in closed else subprocess.DEVNULL,
        timeout=PATIENCE,
        check=True,
    )
    runs = host.stdout.decode().split("-")
    said = [[link for link in run.split("\n") if link not in ("", os.devnull)] for run in runs]
    assert [len(links) for links in said] == [0, 0, 1, 1, 0], said
    assert all(link.startswith("pipe:") for links in said for link in links)


@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")
def test_control_a_file_that_is_given_is_the_stream() -> None:
    """Control: a file that has got the number of a closed stream, and is given as that, becomes it."""
    script = (
        "import os\nfrom treeguard import subprocess\nos.close(0)\nfile = open('/dev/zero', 'rb')\n"
        "assert file.fileno() == 0\nprint(subprocess.run(['readlink', '/proc/self/fd/0'], stdin=file).returncode)\n"
    )
    host = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, timeout=PATIENCE, check=True)
    assert host.stdout.decode().split("\n") == ["/dev/zero", "0", ""]
