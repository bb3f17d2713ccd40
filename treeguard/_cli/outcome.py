"""The outcome of a command that ``treeguard run`` ran."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .._core.outcome import Left
from ..released import ReleasedTree
from ..types import ProcessId, RootExit, TreeStats

__all__ = ["Asked", "Outcome"]

#: Why a tree was asked to end: by a signal to this process, because its time was over, or its parent had ended.
Asked = Literal["request", "timeout", "parent"]


@dataclass
class Outcome:
    """The outcome of a command.

    * ``exit``: None if it cannot be known, because the guard was killed.
    * ``asked``: why the tree was asked to end, before its root ended by itself. None: it was not.
    * ``killed``: something of the tree was killed.
    * ``in_terminal``: the command had the terminal, so that what was typed reached it, and not this process.
    * ``left``: what still lived when the root had ended. Known if there is a report.
    * ``total``: what the tree used.
    * ``released``: what is left of the tree lives on, and is named by this.
    """

    pid: ProcessId
    group: int
    exit: RootExit | None = None
    asked: Asked | None = None
    killed: bool = False
    in_terminal: bool = False
    left: tuple[Left, ...] = ()
    total: TreeStats | None = None
    released: ReleasedTree | None = None

    @property
    def timed_out(self) -> bool:
        """Whether the command's time was over before it had ended."""
        return self.asked == "timeout"
