"""How many tests ran, were skipped, and were left to a Windows that is not Wine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from .marks import REAL_WINDOWS

__all__ = ["Tally", "tally"]

_RAN = ("passed", "failed", "error", "xfailed", "xpassed")


class Tally(NamedTuple):
    """Tests, each counted once, whatever was reported of it."""

    run: int
    skipped: int
    real_windows: int

    def __str__(self) -> str:
        return f"{self.run} run, {self.skipped} skipped, {self.real_windows} of these {REAL_WINDOWS}"


def tally(stats: Mapping[str, Sequence[Any]]) -> Tally:
    """Of pytest's reports, by outcome. One that was skipped in the middle has run no further: it counts as skipped."""
    skipped = {each.nodeid: str(each.longrepr) for each in stats.get("skipped", ())}
    run = {each.nodeid for outcome in _RAN for each in stats.get(outcome, ())} - skipped.keys()
    return Tally(len(run), len(skipped), sum(REAL_WINDOWS in reason for reason in skipped.values()))
