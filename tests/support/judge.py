"""The judge: looks at ``/proc``, and believes nothing else.

Members of a tree are known by a marker in their command line, which survives forks, a cleared environment, and those
execs that hand it on. Zombies have no command line: they are known by whose children they are.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from .patience import PATIENCE, wait_until

__all__ = [
    "ProcessInfo",
    "carriers",
    "children",
    "descriptors",
    "look",
    "processes",
    "put_down",
    "survivors",
    "wait_until_gone",
]

_PROC = Path("/proc")


class ProcessInfo(NamedTuple):
    """A process as ``/proc/PID/stat`` shows it. ``started`` tells it from another one with the same number."""

    pid: int
    name: str
    state: str
    parent: int
    group: int
    session: int
    started: int


def look(pid: int) -> ProcessInfo | None:
    """A process, zombies included; None if there is none."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # proc(5): the name may hold anything, so fields are counted from its last parenthesis.
    name, _, rest = text.partition("(")[2].rpartition(")")
    fields = rest.split()
    return ProcessInfo(pid, name, fields[0], int(fields[1]), int(fields[2]), int(fields[3]), int(fields[19]))


def processes() -> Iterator[ProcessInfo]:
    """All processes, zombies included."""
    return (seen for pid in _numbers() if (seen := look(pid)) is not None)


def _numbers() -> list[int]:
    return [int(entry) for entry in os.listdir(_PROC) if entry.isdecimal()]  # noqa: PTH208 - numbers, not paths


def children(of: int | None = None) -> dict[int, ProcessInfo]:
    """The children of a process, this one if none is named; zombies included."""
    parent = os.getpid() if of is None else of
    return {seen.pid: seen for seen in processes() if seen.parent == parent}


def descriptors(of: int | str = "self") -> dict[int, str]:
    """The open descriptors of this process, or of another one, and what they are."""
    found = {}
    for fd in os.listdir(f"/proc/{of}/fd"):  # noqa: PTH208 - numbers are wanted, not paths
        with contextlib.suppress(FileNotFoundError):  # the listing's own
            found[int(fd)] = os.readlink(f"/proc/{of}/fd/{fd}")  # noqa: PTH115
    return found


def carriers(marker: str) -> list[int]:
    """The processes that carry the marker now. A guard does too for the moment until its root runs."""
    wanted = marker.encode()
    return [pid for pid in _numbers() if _carries(pid, wanted)]


def _carries(pid: int, wanted: bytes) -> bool:
    try:
        line = (_PROC / str(pid) / "cmdline").read_bytes()
        return wanted in (line or _line_of_a_thread(pid))
    except OSError:  # gone
        return False


def _line_of_a_thread(pid: int) -> bytes:
    """The command line, from another thread if the main thread has ended: then only those have it."""
    threads = [path for path in (_PROC / str(pid) / "task").iterdir() if path.name != str(pid)]
    return b"".join((path / "cmdline").read_bytes() for path in threads)


def survivors(marker: str) -> list[str]:
    """The carriers, described for a message."""
    found = []
    for pid in carriers(marker):
        seen = look(pid)
        if seen is not None:
            found.append(
                f"{pid} {seen.name} {seen.state} parent={seen.parent} group={seen.group} session={seen.session}"
            )
    return found


def wait_until_gone(marker: str, patience: float = PATIENCE) -> None:
    """Waits until nothing carries the marker. For ends that nobody reports: a supervisor's death."""
    try:
        wait_until(lambda: not carriers(marker), "nothing carries the marker", patience)
    except AssertionError as e:
        raise AssertionError(f"{e}: {survivors(marker)}") from None


def put_down(marker: str) -> None:
    """Kills all carriers, by handle, until none is left.

    One that forks on is gone before it is hit, but its group is not; and the newest are met first.
    """
    wanted = marker.encode()

    def none_left() -> bool:
        found = False
        for pid in sorted(_numbers(), reverse=True):
            if not _carries(pid, wanted):
                continue
            found = True
            seen = look(pid)
            if seen is not None and seen.group not in (0, os.getpgrp()) and _carries(pid, wanted):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(seen.group, signal.SIGKILL)
            _kill(pid, wanted)
        return not found

    wait_until(none_left, f"{marker} is put down")


def _kill(pid: int, wanted: bytes) -> None:
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    except OSError:
        # The test has forbidden handles to itself. For a moment, the number may be another process's.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return
    try:
        # Look again with the handle open, so that the process that was looked at is the one that is killed.
        if _carries(pid, wanted):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
    except ProcessLookupError:
        pass
    finally:
        os.close(handle)


if sys.platform == "win32":
    # There is no /proc to look at. What tests for all systems ask is answered there; the rest is of POSIX alone.
    from ..windows.judge import children
