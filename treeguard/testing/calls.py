"""The record of what was done with scripted children."""

from __future__ import annotations

from typing import Literal

import msgspec

from ..params import SpawnParams

__all__ = ["Call", "KillCall", "SignalCall", "SpawnCall"]


class SpawnCall(msgspec.Struct, frozen=True):
    """A command was started, or could not be.

    * ``at``: the time on the loop's clock, in seconds since the manager's first use.
    * ``argv``: the program and its arguments. ``params``: all that was asked for.
    * ``os_pid``: the number of the root. None: it was not started.
    """

    at: float
    argv: tuple[str, ...]
    params: SpawnParams
    os_pid: int | None


class SignalCall(msgspec.Struct, frozen=True):
    """A tree was sent a signal. ``to`` is who it went to, as in :meth:`treeguard.Tree.send_signal`."""

    at: float
    argv: tuple[str, ...]
    os_pid: int
    signal: int
    to: Literal["group", "root", "all"] = "group"


class KillCall(msgspec.Struct, frozen=True):
    """A tree was ordered to be killed. Every tree that a caller leaves is killed, also one that has just ended."""

    at: float
    argv: tuple[str, ...]
    os_pid: int


Call = SpawnCall | SignalCall | KillCall
