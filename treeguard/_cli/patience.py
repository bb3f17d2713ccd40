"""How long ``treeguard run`` waits, and for what."""

from __future__ import annotations

import signal
from dataclasses import dataclass

__all__ = ["Patience"]


@dataclass(frozen=True)
class Patience:
    """The times that a tree has, in seconds, and the signal that asks it to end.

    * ``timeout``: for the command. None: as long as it likes.
    * ``grace``: for the tree, after it was asked to end.
    * ``linger``: for what is left of the tree when the command has ended by itself.
    * ``with_parent``: the end of the parent is a request to end.
    * ``release``: what is still there after ``linger`` is let go of, neither asked nor killed.
    """

    timeout: float | None = None
    grace: float = 10.0
    linger: float = 0.5
    signal: int = int(signal.SIGTERM)
    with_parent: bool = False
    release: bool = False
