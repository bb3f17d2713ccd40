"""Checks of arguments. Each check returns the valid value, or raises TypeError or ValueError.

A message names the argument, says what the argument accepts, and shows what it was given. A boolean is not a number.
"""

from __future__ import annotations

import contextlib
import math
import signal
from collections.abc import Iterable
from types import UnionType
from typing import Any
from uuid import UUID

from ..types import ConnectionId, ProcessId

__all__ = [
    "LONGEST_LEASE",
    "connection_id",
    "flag",
    "function",
    "instance",
    "items",
    "lease",
    "number",
    "one_of",
    "optional_seconds",
    "plain_function",
    "positive_seconds",
    "process_id",
    "seconds",
    "signal_number",
    "text",
    "whole_number",
    "wrong_type",
    "wrong_value",
]

#: In seconds. The milliseconds of a lease must fit into 31 bits.
LONGEST_LEASE = 2_000_000.0
#: ``inspect.CO_COROUTINE``.
_COROUTINE = 0x80
#: Messages repeat at most this many characters of a value.
_LONGEST = 80


def wrong_type(name: str, accepted: str, value: object) -> TypeError:
    """Returns the error for a value of a type that is not accepted."""
    return TypeError(f"{name} must be {accepted}, not {_shown(value)}")


def wrong_value(name: str, accepted: str, value: object) -> ValueError:
    """Returns the error for a value that is not accepted, although its type is."""
    return ValueError(f"{name} must be {accepted}, not {_shown(value)}")


def _shown(value: object) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if type(value).__module__ == "builtins" and not callable(value):
        with contextlib.suppress(Exception):  # Python writes no integer of more than some thousand digits.
            words = repr(value)
            return words if len(words) <= _LONGEST else f"{words[:_LONGEST]}…"
    return f"a value of type {type(value).__name__}"


def instance(name: str, value: Any, kind: type | UnionType, accepted: str) -> Any:
    """Checks that a value is of a type. ``accepted`` names the type in the message."""
    if not isinstance(value, kind):
        raise wrong_type(name, accepted, value)
    return value


def function(name: str, value: Any, *, optional: bool = False) -> Any:
    """Checks that a value can be called. With ``optional`` it may also be None."""
    if not (callable(value) or (optional and value is None)):
        raise wrong_type(name, "a function or None" if optional else "a function", value)
    return value


def plain_function(name: str, value: Any, *, optional: bool = False) -> Any:
    """Checks for a function whose result nobody would await."""
    function(name, value, optional=optional)
    # The module inspect takes longer to import than all that a child's side imports.
    flags: int = getattr(getattr(getattr(value, "func", value), "__code__", None), "co_flags", 0)
    if flags & _COROUTINE:
        raise TypeError(f"{name} must be a function, not a coroutine function")
    return value


def process_id(name: str, value: Any) -> ProcessId:
    """Checks for an id of treeguard's. A handle or a tree is not accepted in its place."""
    if not isinstance(value, UUID):
        raise wrong_type(name, "a ProcessId, such as a handle's pid or a tree's id", value)
    return ProcessId(value)


def connection_id(name: str, value: Any) -> ConnectionId:
    """Checks for the id of a connection."""
    if not isinstance(value, UUID):
        raise wrong_type(name, "a ConnectionId", value)
    return ConnectionId(value)


def flag(name: str, value: object) -> bool:
    """Checks for True or False. Other values are not taken for one of them."""
    if not isinstance(value, bool):
        raise wrong_type(name, "True or False", value)
    return value


def text(name: str, value: object) -> str:
    """Checks for a string that is not empty."""
    if not isinstance(value, str):
        raise wrong_type(name, "a string", value)
    if not value:
        raise ValueError(f"{name} must not be empty")
    return value


def one_of(name: str, value: object, accepted: Iterable[object]) -> None:
    """Checks that a value is one of a few. An unhashable value is none of them."""
    accepted = tuple(accepted)
    if not any(type(each) is type(value) and each == value for each in accepted):
        *most, last = map(repr, accepted)
        words = f"{', '.join(most)} or {last}" if most else last
        raise wrong_value(name, words, value)


def items(name: str, value: object, accepted: str) -> tuple[Any, ...]:
    """Returns the items of an iterable. A string, whose items are characters, is not accepted."""
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise wrong_type(name, accepted, value)
    return tuple(value)


def number(name: str, value: float, accepted: str = "a number") -> float:
    """Checks for a number, and not NaN, that a float can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong_type(name, accepted, value)
    try:
        is_number = not math.isnan(value)
    except OverflowError:
        raise ValueError(f"{name} must be {accepted} that a float can hold, not {_shown(value)}") from None
    if not is_number:
        raise wrong_value(name, accepted, value)
    return value


def whole_number(name: str, value: int, *, least: int | None = None, accepted: str = "a whole number") -> int:
    """Checks for a whole number, and that it is at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong_type(name, accepted, value)
    if least is not None and value < least:
        raise wrong_value(name, accepted.replace("a whole number", f"a whole number of at least {least}"), value)
    return value


def optional_seconds(name: str, value: float | None) -> float | None:
    """Checks for a number of seconds to wait, infinity included, or None."""
    return None if value is None else seconds(name, value, "a number of seconds or None")


def seconds(name: str, value: float, accepted: str = "a number of seconds") -> float:
    """Checks for a number of seconds to wait, infinity included."""
    if number(name, value, accepted) < 0:
        raise wrong_value(name, accepted.replace("a number", "a non-negative number"), value)
    return value


def positive_seconds(name: str, value: float) -> float:
    """Checks for a number of seconds that is neither zero nor without end."""
    accepted = "a positive, finite number of seconds"
    if not 0 < number(name, value, accepted) < math.inf:
        raise wrong_value(name, accepted, value)
    return value


def lease(value: float | None) -> float | None:
    """Checks the time of a lease."""
    if value is None:
        return None
    accepted = f"a positive number of seconds, at most {LONGEST_LEASE:g}, or None"
    if not 0 < number("lease", value, accepted) <= LONGEST_LEASE:
        raise wrong_value("lease", accepted, value)
    return value


def signal_number(name: str, value: object) -> int:
    """Checks for the number of a signal. 0 is none, since it would send nothing."""
    if isinstance(value, int) and not isinstance(value, bool):
        # Real-time signals are in no enumeration, and CTRL_C_EVENT and CTRL_BREAK_EVENT of Windows in no set.
        if value in signal.valid_signals():
            return int(value)
        with contextlib.suppress(ValueError):
            return int(signal.Signals(value))
    raise wrong_value(name, "the number of a signal", value)
