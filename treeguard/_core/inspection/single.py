"""Signals to single processes of a tree, where it is not a group that is asked."""

from __future__ import annotations

import errno
import sys

from ...errors import RequestNotDelivered
from ..processes.asking import ask_if
from ..processes.system import get_process, signal_if
from .members import Members

__all__ = ["signal_child", "signal_each"]


def signal_child(pid: int, parent: int, number: int, *, ask: bool = False) -> None:
    """Signals a process if it still is the child of ``parent``, which reaps it, so that its number is its own.

    ``ask``: the signal asks for an end, so a stopped process goes on to hear it.
    """
    _check_system()
    (ask_if if ask else signal_if)(pid, number, lambda: _is_child(pid, parent))


def signal_each(members: Members, number: int) -> None:
    """Signals all members of a tree, each by its handle."""
    _check_system()
    members.signal_outside((), number)


def _check_system() -> None:
    if sys.platform == "win32":
        raise RequestNotDelivered(errno.ENOTSUP, "on Windows single processes cannot be signalled")


def _is_child(pid: int, parent: int) -> bool:
    seen = get_process(pid)
    return seen is not None and seen.alive and seen.parent == parent
