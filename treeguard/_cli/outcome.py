"""The outcome of a command that ``treeguard run`` ran."""

from __future__ import annotations

from dataclasses import dataclass

from ..types import ProcessId, RootExit

__all__ = ["Outcome"]


@dataclass
class Outcome:
    """The outcome of a command.

    * ``exit``: None if it cannot be known, because the guard was killed.
    * ``in_terminal``: the command had the terminal, so that what was typed reached it, and not this process.
    """

    pid: ProcessId
    group: int
    exit: RootExit | None = None
    timed_out: bool = False
    in_terminal: bool = False
