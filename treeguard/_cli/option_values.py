"""The values of the options of ``treeguard run``: from text to what is meant, or an error that names the text."""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import re
import signal
import sys
from collections.abc import Callable

from .._core.containment.guarantees import GUARANTEES
from .._core.validation import signal_number

__all__ = ["assignment", "duration", "guarantees", "limits", "mask", "niceness", "signal_to_ask", "variable", "whole"]

#: Without a sign, so that no number is less than 0, not even one that is rounded to it.
_NUMBER = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
_AMOUNT = re.compile(r"([0-9]+)([KMGT]?)", re.IGNORECASE)
_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
#: A nice value is from -20 to 19.
_NICEST = 39
_ALL = 0o777


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


def whole(text: str) -> int:
    """A whole number, 0 or more."""
    if not re.fullmatch("[0-9]{1,9}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 0 or more")
    return int(text)


def niceness(text: str) -> int:
    """What is added to the nice value."""
    number = int(text) if re.fullmatch("[-+]?[0-9]{1,9}", text) else None
    if number is None or abs(number) > _NICEST:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from -{_NICEST} to {_NICEST}")
    return number


def mask(text: str) -> int:
    """A mask of permissions, in octal digits as umask(1) has it."""
    number = int(text, 8) if re.fullmatch("[0-7]{1,4}", text) else None
    if number is None or number > _ALL:
        raise argparse.ArgumentTypeError(f"{text!r} is not a mask in octal digits, such as 022 or 077")
    return number


def variable(text: str) -> str:
    """The name of a variable."""
    if not text or "=" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is not the name of a variable")
    return text


def assignment(text: str) -> tuple[str, str | None]:
    """``NAME=VALUE``; or ``NAME``, for the value that it has here."""
    name, equals, value = text.partition("=")
    if not name:
        raise argparse.ArgumentTypeError(f"{text!r} is neither NAME=VALUE nor NAME")
    return name, value if equals else os.environ.get(name)


def limits(text: str) -> dict[str, int | float]:
    """Limits by their names: ``memory=512M,processes=100,cpu=1.5``."""
    found: dict[str, int | float] = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        if name not in _LIMITS:
            raise argparse.ArgumentTypeError(f"{part!r} is no limit (choose from memory=N, processes=N, cpu=N)")
        found[name] = _LIMITS[name](value)
    return found


def _bytes(text: str) -> int:
    amount = _AMOUNT.fullmatch(text)
    if amount is None:
        raise argparse.ArgumentTypeError(f"memory: {text!r} is not a number of bytes, such as 512M (K, M, G or T)")
    return int(amount[1]) << _UNITS[amount[2].upper()]


def _processes(text: str) -> int:
    if not re.fullmatch("[0-9]+", text):
        raise argparse.ArgumentTypeError(f"processes: {text!r} is not a whole number")
    return int(text)


def _cpus(text: str) -> float:
    share = float(text) if _NUMBER.fullmatch(text) else math.inf
    if share == math.inf:
        raise argparse.ArgumentTypeError(f"cpu: {text!r} is not a number of CPUs, such as 0.5 or 2")
    return share


_LIMITS: dict[str, Callable[[str], int | float]] = {"memory": _bytes, "processes": _processes, "cpu": _cpus}
