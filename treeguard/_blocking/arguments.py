"""From the arguments of the standard library's ``Popen`` to the parameters of a tree."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from .._core import given as _given  # noqa: F401 - not when the first pipes are open, and descriptors may be short
from .._core.inheritable import ignored_signals, inheritable_fds
from ..params import SpawnParams

__all__ = ["Options", "check_supported", "executable_of", "params_of"]

#: Why there is no ``preexec_fn``, and what to use instead.
_NO_PREEXEC = (
    "preexec_fn is not supported: it would run Python in a process that shares this one's memory. Instead of os.setsid "
    "use start_new_session=True; of os.setpgrp nothing, since each tree has a process group of its own; of "
    "signal.signal(…, SIG_IGN) restore_signals=False, or ignore the signal here; of os.chdir cwd; of os.environ env; "
    "of prctl(PR_SET_PDEATHSIG) nothing, since the tree ends with this process; of os.umask, os.setuid, os.setgid and "
    "os.setgroups umask, user, group and extra_groups; of resource.setrlimit and os.nice a program that does it first, "
    "such as prlimit and nice, or the rlimits and nice of treeguard.SpawnParams"
)

#: The largest number of a user or group (uid_t).
_LAST_ID = 2**32 - 1


class Options(NamedTuple):
    """What ``Popen._execute_child`` is called with, in that order, in every version of Python."""

    args: Any
    executable: Any
    preexec_fn: Callable[[], Any] | None
    close_fds: bool
    pass_fds: Iterable[int]
    cwd: Any
    env: Mapping[Any, Any] | None
    startupinfo: Any
    creationflags: int
    shell: bool
    p2cread: int
    p2cwrite: int
    c2pread: int
    c2pwrite: int
    errread: int
    errwrite: int
    restore_signals: bool
    gid: int | None
    gids: Sequence[int] | None
    uid: int | None
    umask: int
    start_new_session: bool
    #: Since Python 3.11.
    process_group: int = -1

    @property
    def pipes(self) -> tuple[int, ...]:
        """The ends of the pipes, -1 where there is none."""
        return self[10:16]


def check_supported(options: Options) -> None:
    """Raises ValueError that names an argument that a tree cannot be started with, and the reason."""
    if options.preexec_fn is not None:
        raise ValueError(_NO_PREEXEC)
    if options.process_group > 0:
        raise ValueError(
            "process_group must be 0 or None: each tree has a process group of its own, so that it can be signalled "
            "without others"
        )


def executable_of(options: Options) -> Any:
    """What is executed, as the caller gave it."""
    return _arguments_of(options)[0] if options.executable is None else options.executable


def _arguments_of(options: Options) -> list[Any]:
    """The program's name and its arguments."""
    args = options.args
    # Almost always it is a list, and the check of an abstract class takes its time.
    args = [args] if type(args) is not list and isinstance(args, str | bytes | os.PathLike) else list(args)
    if options.shell:
        # Android has no /bin/sh.
        shell = "/system/bin/sh" if hasattr(sys, "getandroidapilevel") else "/bin/sh"
        return [shell if options.executable is None else options.executable, "-c", *args]
    return args


def params_of(options: Options) -> SpawnParams:
    """The parameters of a tree."""
    if options.shell and isinstance(options.args, os.PathLike):
        raise TypeError("path-like args is not allowed when shell is true")
    args = _arguments_of(options)
    executable = args[0] if options.executable is None else options.executable
    streams = (options.p2cread, options.c2pwrite, options.errwrite)
    stdin, stdout, stderr = _INHERITED if streams == (-1, -1, -1) else map(_stream, streams)
    env = options.env
    return SpawnParams(
        executable if type(executable) is str else os.fsdecode(executable),
        tuple(args[1:]),
        env={} if env is None else _decoded(env),
        clear_env=env is not None,
        cwd=None if options.cwd is None else os.fsdecode(options.cwd),
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        pass_fds=_kept_open(options.pass_fds) if options.close_fds else inheritable_fds(),
        ignore_signals=ignored_signals(restore=options.restore_signals),
        # Not False: what is given is checked, which takes longer than the rest.
        new_session=True if options.start_new_session else None,
        **_attributes(options, args[0], executable),
    )


def _attributes(options: Options, name: Any, executable: Any) -> dict[str, Any]:
    """What few children are given. It is left out where it is not asked for: what is given is checked."""
    if name is executable and options[_ATTRIBUTES] == _NONE:
        return {}
    given: dict[str, Any] = {}
    if name is not executable:
        given["argv0"] = os.fsdecode(name)
    for field, number in (("user", options.uid), ("group", options.gid)):
        if number is not None:
            if number > _LAST_ID:
                raise OverflowError(f"{field} is too large a number")
            given[field] = number
    if options.gids is not None:
        given["extra_groups"] = options.gids
    if options.umask >= 0:
        given["umask"] = options.umask & 0o777  # umask(2) looks at no other bits
    return given


#: Those of :func:`_attributes`, and their values if nothing is asked for.
_ATTRIBUTES = slice(17, 21)
_NONE = (None, None, None, -1)


_INHERITED: tuple[Literal["inherit"], ...] = ("inherit",) * 3


def _stream(fd: int) -> int | Literal["inherit"]:
    if fd < -1:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    return "inherit" if fd < 0 else int(fd)


def _kept_open(fds: Iterable[int]) -> tuple[int, ...]:
    if fds == ():
        return ()
    numbers = tuple([int(fd) for fd in fds])
    if numbers and min(numbers) < 0:
        raise ValueError("bad value(s) in pass_fds")
    return numbers


def _decoded(env: Mapping[Any, Any]) -> dict[str, str]:
    decoded = {}
    for name, value in env.items():
        key = os.fsdecode(name)
        if "=" in key:
            raise ValueError("illegal environment variable name")
        decoded[key] = os.fsdecode(value)
    return decoded
