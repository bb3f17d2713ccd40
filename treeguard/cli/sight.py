"""What can be seen of a process through ``/proc``, beside what :mod:`treeguard.processes.procfs` tells."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..processes import Seen, everybody, kill_if, look_at

__all__ = ["WHERE", "Seen", "carries", "everybody", "has_escaped", "kill_if", "look_at"]

#: Where is looked.
WHERE = "/proc"
_PROC = Path(WHERE)


def carries(pid: int, marker: str) -> bool:
    """Whether a process has the marker among its arguments."""
    try:
        return marker.encode() in (_PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False


def has_escaped(daemon: Seen, others: Sequence[Seen]) -> bool:
    """Whether nothing that a process can shed still ties it to the others: parent, session, environment."""
    return (
        daemon.parent not in {seen.pid for seen in others}
        and daemon.session not in {seen.session for seen in others}
        and not (_PROC / str(daemon.pid) / "environ").read_bytes()
    )
