"""The files of a process in ``/proc``. The one reader of ``/proc/PID/stat`` in Python."""

from __future__ import annotations

import errno
import functools
import os
from io import FileIO

__all__ = ["STARTED", "read_file", "stat_of"]

_CHUNK = 32768
#: The place of a process's start among the fields after its name, in clock ticks after boot.
STARTED = 19


def stat_of(pid: int | str) -> tuple[str, list[str]]:
    """The name of a process, or of a thread (``PID/task/THREAD``), and the fields after it. Raises OSError."""
    # The name may contain anything, so fields are counted from its last parenthesis (proc(5)).
    text = read_file(pid, "stat").decode("utf-8", "replace")
    name, _, rest = text.partition("(")[2].rpartition(")")
    return name, rest.split()


@functools.cache
def _check_numbers(own: int) -> None:
    """Raises FileNotFoundError if ``/proc`` shows another pid namespace: its numbers mean other processes here."""
    if os.readlink("/proc/self") != str(own):  # noqa: PTH115 - a number, not a path
        raise FileNotFoundError(errno.ENOENT, "/proc shows the processes of another pid namespace")


def read_file(pid: int | str, name: str) -> bytes:
    """The contents of a file of a process, or of a thread (``PID/task/THREAD``). Raises OSError.

    It is called for thousands of processes, so it avoids the cost of buffers and paths.
    """
    _check_numbers(os.getpid())
    # An object closes its descriptor also if an exception of a signal handler comes right after the call that opens it.
    with FileIO(f"/proc/{pid}/{name}") as file:
        text = b""
        while chunk := file.read(_CHUNK):
            text += chunk
        return text
