"""The checks of what a root can have otherwise than its supervisor. Loaded when a spawn asks for some of that."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from .validation import flag, instance, items, whole_number, wrong_type, wrong_value

__all__ = ["check_attributes", "checked_size"]

#: The kernel's number for "unchanged" is the highest of 32 bits.
_LAST_ID = (1 << 32) - 2
#: ``TG_MAX_GROUPS`` and ``TG_RLIMITS`` in csrc/treeguard.h; bits in its mask of CPUs, as many as glibc's has.
_MOST_GROUPS = 1024
_RESOURCES = 16
_CPUS = 1024
#: ``RLIM_INFINITY`` of Linux.
_UNLIMITED = -1
_MOST_LIMITED = (1 << 64) - 1
#: A nice value is from -20 to 19.
_NICEST = 39
_SCORES = 1000
#: All permissions of a file.
_ALL = 0o777
#: Of CreateProcess: priority classes (IDLE, BELOW_NORMAL, NORMAL, ABOVE_NORMAL, HIGH, REALTIME), DETACHED_PROCESS,
#: CREATE_NEW_CONSOLE, CREATE_NEW_PROCESS_GROUP, CREATE_DEFAULT_ERROR_MODE, CREATE_NO_WINDOW.
_FLAGS = 0x40 | 0x4000 | 0x20 | 0x8000 | 0x80 | 0x100 | 0x8 | 0x10 | 0x200 | 0x0400_0000 | 0x0800_0000
#: F_SETPIPE_SZ takes no more than fits into an int.
_LARGEST_PIPE = (1 << 31) - 1
#: wShowWindow has 16 bits, and so has each number in a terminal's size.
_MOST_SHOWN = _LONGEST_SIDE = 0xFFFF


class _TooLarge(ValueError, OverflowError):
    """A number that the system's type cannot hold: the standard library raises OverflowError."""


def check_attributes(params: msgspec.Struct) -> None:
    """Raises TypeError or ValueError that names an argument, and keeps tuples and dicts of the parameters' own."""
    for name, check in _CHECKS.items():
        value = getattr(params, name)
        if value is not None or name in _NEVER_NONE:
            msgspec.structs.force_setattr(params, name, check(name, value))
    if getattr(params, "pty"):  # noqa: B009 - the class of the parameters is above this module
        _check_session(params)


def checked_size(name: str, value: Any) -> tuple[int, int]:
    """Checks for the size of a terminal, in rows and columns. Raises TypeError or ValueError that names it."""
    accepted = "True, False or a size of (rows, columns)" if name == "pty" else "a size of (rows, columns)"
    pair = items(name, value, accepted)
    if len(pair) != 2:
        raise wrong_value(name, accepted, value)
    sides = [_within(f"{name}[{i}]", side, 1, _LONGEST_SIDE) for i, side in enumerate(pair)]
    return sides[0], sides[1]


def _pty(name: str, value: object) -> bool | tuple[int, int]:
    return value if isinstance(value, bool) else checked_size(name, value)


def _check_session(params: msgspec.Struct) -> None:
    """Asks for the session that the terminal belongs to. Raises ValueError for what contradicts it."""
    if getattr(params, "new_session") is False:  # noqa: B009
        raise ValueError("new_session must not be False with pty, which is the terminal of a session of the root's own")
    if getattr(params, "terminal") is not None:  # noqa: B009
        raise ValueError("terminal must be None with pty: a session has one controlling terminal")
    msgspec.structs.force_setattr(params, "new_session", True)


def _within(name: str, value: Any, least: int, most: int, what: str = "a whole number") -> int:
    accepted = f"{what} from {least} to {most}"
    checked = whole_number(name, value, accepted=accepted)
    if not least <= checked <= most:
        raise wrong_value(name, accepted, checked)
    return int(checked)


def _name(name: str, value: object) -> str:
    if isinstance(value, str | bytes | os.PathLike):
        return str.__str__(os.fsdecode(value))
    raise wrong_type(name, "a string or a path", value)


def _account(name: str, value: object) -> int | str:
    """A number, or a name that is looked up at the spawn."""
    if isinstance(value, str):
        return str.__str__(value)
    accepted = f"a name, or a number from 0 to {_LAST_ID}"
    checked = whole_number(name, value, accepted=accepted)  # type: ignore[arg-type]
    if checked > _LAST_ID:
        raise _TooLarge(str(wrong_value(name, accepted, value)))
    if checked < 0:
        raise wrong_value(name, accepted, value)
    return int(checked)


def _accounts(name: str, value: object) -> tuple[int | str, ...]:
    groups = [_account(f"{name}[{i}]", group) for i, group in enumerate(items(name, value, "a sequence of groups"))]
    if len(groups) > _MOST_GROUPS:
        raise ValueError(f"{name} must be at most {_MOST_GROUPS} groups, not {len(groups)}")
    return tuple(groups)


def _umask(name: str, value: Any) -> int | None:
    if value == -1:  # the standard library's value for none
        return None
    accepted = "a mask of permissions, from 0 to 0o777"
    if not 0 <= whole_number(name, value, accepted=accepted) <= _ALL:
        raise wrong_value(name, accepted, value)
    return int(value)


def _flags(name: str, value: object) -> int:
    flags = _within(name, value, 0, (1 << 32) - 1)
    if flags & ~_FLAGS:
        raise ValueError(
            f"{name} must be of those for a priority, a console or the error mode, not {flags & ~_FLAGS:#x}: "
            "a tree stays in its job, and starts at once"
        )
    return flags


def _window(name: str, value: object) -> int:
    return _within(name, value, 0, _MOST_SHOWN)


def _pipe_size(name: str, value: object) -> int:
    accepted = f"a number of bytes, at most {_LARGEST_PIPE}, or -1"
    size = whole_number(name, value, accepted=accepted)  # type: ignore[arg-type]
    if not -1 <= size <= _LARGEST_PIPE:
        raise wrong_value(name, accepted, size)
    return int(size)


def _nice(name: str, value: object) -> int:
    return _within(name, value, -_NICEST, _NICEST)


def _score(name: str, value: object) -> int:
    return _within(name, value, -_SCORES, _SCORES)


def _cpus(name: str, value: object) -> tuple[int, ...]:
    numbers = items(name, value, "a collection of CPUs' numbers")
    cpus = sorted({_within(f"{name}[{i}]", cpu, 0, _CPUS - 1) for i, cpu in enumerate(numbers)})
    if not cpus:
        raise ValueError(f"{name} must not be empty")
    return tuple(cpus)


def _rlimits(name: str, value: object) -> dict[int, tuple[int, int]] | None:
    limits = instance(name, value, Mapping, "a mapping of resources to limits")
    return {
        _within(f"{name}: the resource", resource, 0, _RESOURCES - 1): _rlimit(f"{name}[{resource!r}]", limit)
        for resource, limit in limits.items()
    } or None


def _rlimit(name: str, value: object) -> tuple[int, int]:
    accepted = "a soft and a hard limit, or one number for both"
    pair = (value, value) if isinstance(value, int) else items(name, value, accepted)
    if len(pair) != 2:
        raise wrong_value(name, accepted, value)
    soft, hard = (_within(name, each, _UNLIMITED, _MOST_LIMITED) for each in pair)
    if hard != _UNLIMITED and not 0 <= soft <= hard:
        raise wrong_value(name, "a soft limit and a hard limit that is not below it", value)
    return soft, hard


_CHECKS: dict[str, Callable[[str, object], object]] = {
    "argv0": _name,
    "restore_signals": flag,
    "user": _account,
    "group": _account,
    "extra_groups": _accounts,
    "umask": _umask,
    "nice": _nice,
    "rlimits": _rlimits,
    "oom_score_adj": _score,
    "cpu_affinity": _cpus,
    "creationflags": _flags,
    "show_window": _window,
    "pty": _pty,
    "pipesize": _pipe_size,
    "die_with_parent": flag,
}
_NEVER_NONE = ("restore_signals", "nice", "creationflags", "pty", "pipesize", "die_with_parent")
