"""The standard library's arguments of a process, as the fields of :class:`~treeguard.SpawnParams`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from .._core.inheritable import ignored_signals, inheritable_fds
from ..params import SpawnParams

__all__ = ["program_named", "spawn_options", "streams_named", "without_text"]

_FIELDS = frozenset(SpawnParams.__struct_fields__) - {"program", "args", "stdin", "stdout", "stderr"}
#: Values that ask for nothing, of arguments that have no other value here.
_DEFAULTS: dict[str, tuple[Any, ...]] = {
    "pipesize": (-1,),
    "startupinfo": (None,),
}
_PREEXEC = (
    "preexec_fn is not possible: the child runs no Python before its program. "
    "Use cwd, env, umask, user, nice, rlimits, new_session or ignore_signals for what it did, or start a program that "
    "does it"
)


def without_text(kwds: dict[str, Any], *, shell: bool) -> None:
    """Takes out what asyncio refuses to change. Raises ValueError, as asyncio does."""
    for name in ("universal_newlines", "text"):
        if kwds.pop(name, None):
            raise ValueError(f"{name} must be False")
    for name in ("encoding", "errors"):
        if kwds.pop(name, None) is not None:
            raise ValueError(f"{name} must be None")
    if kwds.pop("shell", shell) is not shell:
        raise ValueError(f"shell must be {shell}")
    if kwds.pop("bufsize", 0) != 0:
        raise ValueError("bufsize must be 0")


def streams_named(stdin: Any, stdout: Any, stderr: Any) -> dict[str, Any]:
    """The fields for the streams. None: inherited."""
    given = {"stdin": stdin, "stdout": stdout, "stderr": stderr}
    return {name: "inherit" if stream is None else stream for name, stream in given.items()}


def program_named(name: Any, kwds: dict[str, Any]) -> Any:
    """What is executed: the program of that name, or ``executable``, to which the name is only what it is called."""
    executable = kwds.pop("executable", None)
    if executable is None:
        return name
    kwds.setdefault("argv0", name)
    return executable


def spawn_options(kwds: dict[str, Any]) -> dict[str, Any]:
    """The fields for the arguments. Raises ValueError or TypeError for what cannot be done."""
    options: dict[str, Any] = {}
    restore = bool(kwds.pop("restore_signals", True))
    if sys.platform != "win32":
        options["ignore_signals"] = ignored_signals(restore=True)
        if not restore:
            options["restore_signals"] = False
    for name, value in kwds.items():
        if name in _CONVERTED:
            _CONVERTED[name](value, options)
        elif name in _FIELDS:
            options[name] = value
        elif name not in _DEFAULTS:
            raise TypeError(f"unexpected argument {name!r}")
        elif value not in _DEFAULTS[name]:
            raise ValueError(f"{name} is not supported")
    return options


def _env(value: Any, options: dict[str, Any]) -> None:
    if value is not None:
        options.update(env=value, clear_env=True)


def _umask(value: Any, options: dict[str, Any]) -> None:
    if value != -1:
        options["umask"] = value


def _start_new_session(value: Any, options: dict[str, Any]) -> None:
    if value:
        options["new_session"] = True


def _process_group(value: Any, options: dict[str, Any]) -> None:
    if value not in (None, -1, 0):
        raise ValueError("process_group must be 0: each tree's root leads a group of its own, by which it is signalled")


def _preexec_fn(value: Any, options: dict[str, Any]) -> None:
    if value is not None:
        raise ValueError(_PREEXEC)


def _close_fds(value: Any, options: dict[str, Any]) -> None:
    """Passes on what is inheritable. It costs a look at every open descriptor."""
    if not value and sys.platform != "win32":
        options["pass_fds"] = (*options.get("pass_fds", ()), *inheritable_fds())


def _pass_fds(value: Any, options: dict[str, Any]) -> None:
    options["pass_fds"] = (*options.get("pass_fds", ()), *value)


_CONVERTED: dict[str, Callable[[Any, dict[str, Any]], None]] = {
    "close_fds": _close_fds,
    "env": _env,
    "pass_fds": _pass_fds,
    "preexec_fn": _preexec_fn,
    "process_group": _process_group,
    "start_new_session": _start_new_session,
    "umask": _umask,
}
