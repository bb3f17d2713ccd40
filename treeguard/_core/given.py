"""What is given as the parameters of a spawn: checks, and what is kept of it. Not for those that are plain anyway."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from operator import attrgetter, is_
from types import UnionType
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

from ..limits import Limits
from .validation import (
    flag,
    instance,
    items,
    one_of,
    positive_seconds,
    seconds,
    whole_number,
    wrong_type,
    wrong_value,
)

if TYPE_CHECKING:
    from ..params import SpawnParams

__all__ = ["take"]

#: The standard library's PIPE, STDOUT and DEVNULL.
_STREAMS = {-1: "pipe", -2: "stdout", -3: "null"}
_DEVNULL = -3

_NUMBERS = {"pass_fds": "a sequence of descriptors' numbers", "ignore_signals": "a sequence of signals' numbers"}
_TYPES: tuple[tuple[str, type | UnionType, str], ...] = (
    ("parent", UUID | None, "a ProcessId, such as a handle's pid, or None"),
    ("limits", Limits | None, "Limits or None"),
    ("new_session", bool | None, "True, False or None"),
)
_ATTRIBUTES = attrgetter(
    *("user", "group", "extra_groups", "umask", "rlimits", "oom_score_adj", "cpu_affinity", "argv0", "show_window"),
    *("nice", "creationflags", "restore_signals", "pty", "pipesize", "die_with_parent"),
)
#: What they are if nothing is given.
_PLAIN = (*(None,) * 9, 0, 0, True, False, -1, False)

_put = msgspec.structs.force_setattr


def take(params: SpawnParams) -> None:
    """Puts strings and tuples of their own in the place of paths and sequences. Raises TypeError or ValueError."""
    for name in ("program", "cwd"):
        value = getattr(params, name)
        if value is not None and type(value) is not str:
            _put(params, name, _text(name, value))
    for name in ("stdin", "stdout", "stderr"):
        value = getattr(params, name)
        # At a terminal, the null device has to be told from the default.
        if type(value) is not str and not (params.pty and name == "stdin" and value == _DEVNULL):
            _put(params, name, _stream(value))
    for name in ("args", "pass_fds", "ignore_signals"):
        value = getattr(params, name)
        if type(value) is not tuple:
            _put(params, name, items(name, value, "a sequence, such as a tuple or a list"))
    if not all(type(arg) is str for arg in params.args):
        _put(params, "args", tuple(_text(f"args[{i}]", arg) for i, arg in enumerate(params.args)))
    for name in ("pass_fds", "ignore_signals"):
        for value in getattr(params, name):
            whole_number(name, value, accepted=_NUMBERS[name])
    instance("kind", params.kind, str, "a string")
    instance("env", params.env, Mapping, "a mapping")
    _check_rarely_given(params)
    _put(params, "kind", str.__str__(params.kind))
    _put(params, "env", {_text("env", name): _text(f"env[{name!r}]", value) for name, value in params.env.items()})


def _check_rarely_given(params: SpawnParams) -> None:
    for name in ("clear_env", "notify"):
        flag(name, getattr(params, name))
    one_of("control", params.control, (False, True, "stdin", "path"))
    one_of("isolation", params.isolation, (None, "none", "signals", "pid_namespace"))
    if params.watchdog is not None:
        positive_seconds("watchdog", params.watchdog)
        if not params.notify:
            raise ValueError("watchdog must be None without notify=True")
    if seconds("max_extension", params.max_extension) == math.inf:
        raise wrong_value("max_extension", "a finite number of seconds", params.max_extension)
    if params.terminal is not None:
        whole_number("terminal", params.terminal, accepted="the number of a descriptor, or None")
    # The class is not imported for children without capabilities.
    if params.capabilities is not None and not hasattr(params.capabilities, "token"):
        raise wrong_type("capabilities", "a CapabilityBundle or None", params.capabilities)
    for name, kind, accepted in _TYPES:
        instance(name, getattr(params, name), kind, accepted)
    if not all(map(is_, _ATTRIBUTES(params), _PLAIN)):
        from .attributes import check_attributes

        check_attributes(params)


def _text(name: str, value: object) -> str:
    if isinstance(value, str | bytes | os.PathLike):
        return str.__str__(os.fsdecode(value))
    raise wrong_type(name, "a string or a path", value)


def _stream(value: object) -> object:
    """The standard library's numbers as words, and files as descriptors. The rest is checked at the spawn."""
    if isinstance(value, int):
        return value if isinstance(value, bool) else _STREAMS.get(value, int(value))
    fileno = getattr(value, "fileno", None)
    return fileno() if callable(fileno) else value
