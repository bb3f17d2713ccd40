"""The outcome of a command that ``treeguard run`` ran."""

from __future__ import annotations

from dataclasses import dataclass

from ..types import ProcessId, RootExit

__all__ = ["Outcome"]


@dataclass
class Outcome:
    """The outcome of a command. ``exit`` is None if it cannot be known, because the guard was killed."""

    pid: ProcessId
    group: int
    exit: RootExit | None = None
    timed_out: bool = False
