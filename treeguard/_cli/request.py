"""What ``treeguard run`` was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .patience import Patience

__all__ = ["Request"]


@dataclass(frozen=True)
class Request:
    """What was asked for.

    * ``given``: fields of ``SpawnParams`` that the command has otherwise than this process.
    * ``unset``: names of variables that it does not inherit.
    * ``foreground``: it has the terminal from the start, wherever its streams lead.
    """

    command: tuple[str, ...]
    patience: Patience
    given: Mapping[str, Any] = field(default_factory=dict)
    unset: tuple[str, ...] = ()
    foreground: bool = False
