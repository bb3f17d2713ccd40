"""The standard library's arguments of a process, as the fields of :class:`~treeguard.SpawnParams`.

Loaded by what has the standard library's names, and by a spawn that uses one of them.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..params import FIELDS, SpawnParams
from .inheritable import ignored_signals, inheritable_fds
from .validation import items, wrong_type

__all__ = ["check_names", "check_preexec", "child_fields", "params_of"]

#: Why there is no ``preexec_fn``, and what to use instead.
_NO_PREEXEC = (
    "preexec_fn must be None: it would run Python in a process that shares this one's memory, with the locks that its "
    "other threads hold. Instead of os.setsid use start_new_session=True; of os.setpgrp nothing, since each tree has a "
    "process group of its own; of prctl(PR_SET_PDEATHSIG) nothing, since the tree ends with this process; of "
    "signal.signal(…, SIG_IGN) ignore_signals; of os.setuid, os.setgid and os.setgroups user, group and extra_groups; "
    "of os.umask umask; of os.nice nice; of resource.setrlimit rlimits; of os.sched_setaffinity cpu_affinity; of a "
    "write to oom_score_adj oom_score_adj; of a cgroup limits; of os.chdir cwd; of os.environ env; of os.dup2 stdin, "
    "stdout, stderr and pass_fds; of os.tcsetpgrp nothing, since a tree is lent the terminal when it needs it, or "
    "terminal=fd, which has it before the program runs; of os.login_tty pty; of anything else a program that does it "
    "first, such as setpriv, unshare or chroot"
)
_NO_GROUP = (
    "process_group must be 0 or None, not {!r}: each tree has a process group of its own, so that it can be signalled "
    "without others"
)


def params_of(function: str, program: Any, args: Iterable[Any], given: Mapping[str, Any], *, like_popen: bool) -> Any:
    """The parameters of a child, from the arguments of a function: see :func:`child_fields`."""
    fields = child_fields(function, given, like_popen=like_popen)
    executable = fields.pop("executable", None)
    if executable is not None:
        fields.setdefault("argv0", program)
        program = executable
    return SpawnParams(program, tuple(args), **fields)


def child_fields(function: str, given: Mapping[str, Any], *, like_popen: bool) -> dict[str, Any]:
    """The fields for the arguments of a function, and ``executable``. Raises TypeError or ValueError.

    ``like_popen``: streams are inherited, ``env`` is the whole environment, and what this process ignores is ignored by
    the child too, as with the standard library. Otherwise these are as in :class:`~treeguard.SpawnParams`.
    """
    check_names(function, given)
    fields: dict[str, Any] = {}
    for name, value in given.items():
        if name in _CONVERTED:
            _CONVERTED[name](value, fields)
        else:
            fields[name] = value
    if not given.get("close_fds", True) and sys.platform != "win32":
        _inherit_fds(fields)
    if like_popen:
        _follow_popen(fields)
    return fields


def check_names(function: str, given: Iterable[str]) -> None:
    """Raises TypeError, as Python does, for an argument that a function does not take."""
    for name in given:
        if name not in _CONVERTED and name not in FIELDS:
            raise TypeError(f"{function}() got an unexpected keyword argument {name!r}")


def _follow_popen(fields: dict[str, Any]) -> None:
    for name in ("stdin", "stdout", "stderr"):
        if fields.get(name) is None:
            fields[name] = "inherit"
        elif isinstance(fields[name], bool):  # programs say stdin=False, which is descriptor 0 to the standard library
            fields[name] = int(fields[name])
    if fields.get("env") is None:
        fields.pop("env", None)
    if fields.get("clear_env") is None:
        fields["clear_env"] = "env" in fields
    if sys.platform != "win32":
        ignored = ignored_signals(restore=bool(fields.pop("restore_signals", True)))
        fields["ignore_signals"] = (*fields["ignore_signals"], *ignored) if "ignore_signals" in fields else ignored


def _inherit_fds(fields: dict[str, Any]) -> None:
    """Passes on what is inheritable. It costs a look at every open descriptor."""
    if fields.get("pass_fds"):
        # The standard library's words.
        warnings.warn("pass_fds overriding close_fds.", RuntimeWarning, stacklevel=5)
    else:
        fields["pass_fds"] = inheritable_fds()


# What the standard library has a name of its own for, or another value that means nothing.


def check_preexec(value: Any) -> None:
    """Raises ValueError that says what to use instead."""
    if value is not None:
        raise ValueError(_NO_PREEXEC)


def _preexec_fn(value: Any, _: dict[str, Any]) -> None:
    check_preexec(value)


def _close_fds(_value: Any, _fields: dict[str, Any]) -> None:
    """It is looked at last."""


def _executable(value: Any, fields: dict[str, Any]) -> None:
    if value is not None:
        if not isinstance(value, str | bytes | os.PathLike):
            raise wrong_type("executable", "a string or a path", value)
        fields["executable"] = value


def _ignore_signals(value: Any, fields: dict[str, Any]) -> None:
    if value != ():
        fields["ignore_signals"] = items("ignore_signals", value, "a sequence, such as a tuple or a list")


def _umask(value: Any, fields: dict[str, Any]) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        fields["umask"] = value
    elif value >= 0:
        fields["umask"] = value & 0o777  # umask(2) looks at no other bits


def _process_group(value: Any, _: dict[str, Any]) -> None:
    if value not in (None, -1, 0):
        raise ValueError(_NO_GROUP.format(value))


def _start_new_session(value: Any, fields: dict[str, Any]) -> None:
    if value:
        fields["new_session"] = True


def _new_session(value: Any, fields: dict[str, Any]) -> None:
    if value is not None:
        fields["new_session"] = value


def _startupinfo(value: Any, fields: dict[str, Any]) -> None:
    if value is None:
        return
    if sys.platform != "win32":
        raise ValueError("startupinfo is to be had on Windows only")
    import subprocess

    if value.dwFlags & subprocess.STARTF_USESTDHANDLES or (value.lpAttributeList or {}).get("handle_list"):
        raise ValueError("startupinfo must hold no handles: they are given by stdin, stdout, stderr and pass_fds")
    if value.dwFlags & subprocess.STARTF_USESHOWWINDOW:
        fields["show_window"] = value.wShowWindow


_CONVERTED: dict[str, Callable[[Any, dict[str, Any]], None]] = {
    "close_fds": _close_fds,
    "executable": _executable,
    "ignore_signals": _ignore_signals,
    "new_session": _new_session,
    "preexec_fn": _preexec_fn,
    "process_group": _process_group,
    "start_new_session": _start_new_session,
    "startupinfo": _startupinfo,
    "umask": _umask,
}
