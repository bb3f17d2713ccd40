"""Samples of several contenders, taken in turn, so that what else the machine does is shared by all."""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

__all__ = ["Result", "Summary", "in_turn", "summary"]


class Summary(NamedTuple):
    """Of samples: how they lie. The quartiles bound the middle half of them."""

    median: float
    low: float
    high: float


class Result(NamedTuple):
    """One row of the table. ``yardstick`` names the contender of the same line that ratios are to."""

    line: str
    name: str
    unit: str
    values: list[float]
    yardstick: str = ""
    note: str = ""


def summary(values: list[float]) -> Summary:
    """Median and quartiles."""
    if len(values) < 2:
        return Summary(values[0], values[0], values[0])
    low, median, high = statistics.quantiles(values, n=4)
    return Summary(median, low, high)


async def in_turn(
    samplers: Mapping[str, Callable[[int], Awaitable[list[float]]]], *, rounds: int, each: int
) -> dict[str, list[float]]:
    """``each`` samples of every contender, again and again. The first round only warms up."""
    values: dict[str, list[float]] = {name: [] for name in samplers}
    for number in range(rounds + 1):
        for name, sample in samplers.items():
            taken = await sample(each)
            if number:
                values[name] += taken
    return values
