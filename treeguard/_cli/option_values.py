"""The values of the options of ``treeguard run``: from text to what is meant, or an error that names the text."""

from __future__ import annotations

import argparse
import contextlib
import math
import re
import signal
import sys

from .._core.containment.guarantees import GUARANTEES
from .._core.validation import signal_number

__all__ = ["duration", "guarantees", "signal_to_ask"]

#: Without a sign, so that no number is less than 0, not even one that is rounded to it.
_NUMBER = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")


def guarantees(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    unknown = [name for name in names if name not in GUARANTEES]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is no guarantee (choose from {', '.join(GUARANTEES)})")
    return names


def signal_to_ask(text: str) -> int:
    name = text.upper()
    number: int | None = signal.Signals.__members__.get(name if name.startswith("SIG") else f"SIG{name}")
    with contextlib.suppress(ValueError):
        number = number or signal_number("signal", int(text if re.fullmatch("[0-9]+", text) else ""))
    if number is None:
        raise argparse.ArgumentTypeError(f"{text!r} is neither the name nor the number of a signal")
    if sys.platform == "win32" and number != signal.SIGTERM:
        raise argparse.ArgumentTypeError("on Windows there is only TERM, which becomes CTRL_BREAK")
    return int(number)


def duration(text: str) -> float:
    seconds = float(text) if _NUMBER.fullmatch(text) else math.inf
    if seconds == math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds, 0 or more")
    return seconds
