"""How a command went that ``treeguard run`` looked after."""

from __future__ import annotations

from dataclasses import dataclass

from ..types import ProcessId, RootExit

__all__ = ["Outcome"]


@dataclass
class Outcome:
    """How it went. ``exit`` is None where it cannot be known, because the guard was killed."""

    pid: ProcessId
    group: int
    exit: RootExit | None = None
    timed_out: bool = False
