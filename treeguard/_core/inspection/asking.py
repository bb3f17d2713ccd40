"""Asking the processes of a tree to end one by one, each of them once."""

from __future__ import annotations

import os
from collections.abc import Callable

from ..processes.system import ProcessInfo
from .members import Members

__all__ = ["Asker", "reads_pipe"]


class Asker:
    """Asks members of a tree to end by a signal. A stopped one goes on to hear it.

    Its calls look at every process of this machine: milliseconds for hundreds. Call them in a thread.
    """

    def __init__(self, members: Members, number: int) -> None:
        self._members = members
        self._number = number
        self._asked: set[tuple[int, int]] = set()

    @property
    def has_asked(self) -> bool:
        """Whether it has asked any."""
        return bool(self._asked)

    def ask(self, wanted: Callable[[ProcessInfo], bool]) -> None:
        """Asks those members that are ``wanted`` and were not asked before."""
        for seen in self._members.asked():
            process = (seen.pid, seen.started)
            if (
                process not in self._asked
                and wanted(seen)
                and self._members.signal_one(seen.pid, self._number, ask=True)
            ):
                self._asked.add(process)


def reads_pipe(pid: int) -> bool:
    """Whether a process's standard input is a pipe or socket that this process does not have as its own.

    Such a process is probably a filter, which ends by itself when it has read its input. One that cannot be seen may be
    one.
    """
    try:
        source = os.readlink(f"/proc/{pid}/fd/0")  # noqa: PTH115 - a name, not a path
    except FileNotFoundError:
        # The process is closed for inspection by its end, or has no standard input. Elsewhere there is no /proc.
        return not os.path.isdir("/proc/self")  # noqa: PTH112 - one call
    except OSError:
        return True
    return source.startswith(("pipe:", "socket:")) and source != _own_input()


def _own_input() -> str:
    try:
        return os.readlink("/proc/self/fd/0")  # noqa: PTH115 - a name, not a path
    except OSError:
        return ""
