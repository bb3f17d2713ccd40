"""What ``/proc`` shows of a process, in addition to :mod:`treeguard._core.processes.procfs`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .._core.processes.system import ProcessInfo, get_process, iter_pids, kill_if

__all__ = ["WHERE", "ProcessInfo", "carries", "get_process", "has_escaped", "iter_pids", "kill_if"]

#: The source of the facts about processes, for messages.
WHERE = "/proc"
_PROC = Path(WHERE)


def carries(pid: int, marker: str) -> bool:
    """Whether a process has the marker among its arguments."""
    try:
        return marker.encode() in (_PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False


def has_escaped(daemon: ProcessInfo, others: Sequence[ProcessInfo]) -> bool:
    """Whether a process has shed every tie to the others that can be shed: parent, session, environment."""
    return (
        daemon.parent not in {seen.pid for seen in others}
        and daemon.session not in {seen.session for seen in others}
        and not (_PROC / str(daemon.pid) / "environ").read_bytes()
    )
