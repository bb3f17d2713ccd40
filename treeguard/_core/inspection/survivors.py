"""Describing the processes that survive the end of their tree, and why, for an error message."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence

from ..escaping import printable
from ..processes.freezer import frozen_in
from ..processes.system import ProcessInfo, get_process
from .members import Members

__all__ = ["described"]

#: How many processes of a tree are named. The others are only counted.
_NAMED = 10


def described(members: Members) -> str:
    """The processes that a tree's end waits for: number, name, state, and the visible reasons why they are alive.

    Looks at every process there is: milliseconds for hundreds.
    """
    living = [seen for pid in members.pids() if (seen := members.look(pid)) is not None and seen.alive]
    words = [_described(seen) for seen in living[:_NAMED]]
    if living[_NAMED:]:
        words.append(f"{len(living) - _NAMED} more")
    words += [_unreaped(seen) for seen in members.unreaped()[:_NAMED]]
    if members.has_unnumbered():
        words.append("processes of another PID namespace, which have no number here")
    return ", ".join(words)


def _unreaped(seen: ProcessInfo) -> str:
    """A dead process that has joined a tree's PID namespace. The kernel lets the namespace end when it is reaped."""
    parent = get_process(seen.parent)
    name = f" {printable(parent.name)}" if parent is not None else ""
    return f"{seen.pid} {printable(seen.name)} (a zombie that its parent {seen.parent}{name} does not reap)"


def _described(seen: ProcessInfo) -> str:
    # A name may contain any character, and goes into logs.
    name = printable(seen.name)
    return f"{seen.pid} {name} ({', '.join((f'state {seen.state}', *_reasons(seen)))})"


def _reasons(seen: ProcessInfo) -> Sequence[str]:
    frozen = frozen_in(seen.pid)
    reasons = [] if frozen is None else [f"frozen by {frozen}"]
    try:
        os.kill(seen.pid, 0)
    except PermissionError:
        with contextlib.suppress(OSError):
            reasons.append(f"of user {os.stat(f'/proc/{seen.pid}').st_uid}")  # noqa: PTH116 - one call
    except OSError:  # it has just ended
        pass
    if seen.state == "D" and frozen is None:
        reasons.append("waits in the kernel")
    return reasons
