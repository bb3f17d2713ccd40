"""Compiling parameters for CreateProcess: checks, the search in ``PATH`` and quoting, before anything is started."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from subprocess import list2cmdline
from typing import NamedTuple

from ...errors import invalid_argument, spawn_error
from ...params import SpawnParams
from ..native import Spec
from . import NOTHING_ADDED, Accounts, Additions, Placement
from .arguments import STREAMS, WORDS_OF_STREAMS, check_env_names, check_text, default_program, stdin_of
from .command_line import CommandLineParams, split_line

__all__ = ["SpecCompiler"]

if sys.platform == "win32":
    from msvcrt import get_osfhandle
else:

    def get_osfhandle(fd: int) -> int:
        raise OSError(errno.EBADF, f"descriptor {fd} has no handle here")


#: Handles that lead nowhere: INVALID_HANDLE_VALUE, and the C runtime's value for a stream that never existed.
_NOWHERE = (-1, -2)
_NULL_DEVICE = -1
#: Parameters that are refused unless they are None.
_ATTRIBUTES = ("user", "group", "extra_groups", "umask", "rlimits", "oom_score_adj", "cpu_affinity")
#: The default of cmd.exe and shutil.which if the environment has none.
_PATHEXT = ".COM;.EXE;.BAT;.CMD"
_SCRIPTS = (".bat", ".cmd")


class _Variable(NamedTuple):
    name: str
    value: str


class SpecCompiler:
    """Compiles spawn parameters."""

    def __init__(
        self, environ: Mapping[str, str] | None = None, handle_of: Callable[[int], int] = get_osfhandle
    ) -> None:
        """``handle_of`` returns the handle that a descriptor of the C runtime stands for, or raises OSError."""
        self._environ = os.environ if environ is None else environ
        self._handle_of = handle_of

    def known(self, params: SpawnParams, placement: Placement) -> Spec | None:
        """What was compiled before is not kept here."""
        return None

    def compile(self, params: SpawnParams, additions: Additions = NOTHING_ADDED) -> Spec:
        """The spec for CreateProcess. Raises a :class:`~treeguard.SpawnError` that names what is at fault."""
        program = params.program if params.program and params.kind else default_program(params)
        _check_supported(params)
        check_text(program, program, "program")
        check_text(params.argv0 or "", program, "argv0")
        for i, arg in enumerate(params.args):
            check_text(arg, program, "args[{}]", i)
        environment = self._environment(params, additions, program)
        cwd = _cwd(params)
        path = self._search(program, environment, cwd)
        pass_fds = tuple(sorted({fd for fd in (*params.pass_fds, *additions.pass_fds) if fd > 2}))
        return Spec(
            program=_wide(path),
            args=_wide(_command_line(params, program, path) + "\0"),
            nargs=1,
            env=_block(environment),
            nenv=len(environment),
            cwd=None if cwd is None else _wide(cwd),
            stdio=self._stdio(params, additions, program),
            pass_fds=pass_fds,
            ignore=0,
            terminal=-1,
            handles=tuple(self._handle("pass_fds", "pass_fds", fd, program) for fd in pass_fds),
            job_memory=additions.job_memory,
            job_processes=additions.job_processes,
            job_cpu=additions.job_cpu,
            creationflags=params.creationflags,
            show_window=-1 if params.show_window is None else params.show_window,
        )

    async def look_up(self, params: SpawnParams) -> Accounts:
        """Refuses other users and groups than this process's."""
        _check_supported(params)
        return Accounts(None, None, None)

    def _environment(self, params: SpawnParams, additions: Additions, program: str) -> dict[str, _Variable]:
        """The variables by upper case name, since Windows does not distinguish ``Path`` from ``PATH``."""
        env = {**params.env, **additions.env}
        check_env_names(env, program)
        given = {} if params.clear_env else dict(self._environ)
        found = {
            name.upper(): _Variable(name, value) for name, value in given.items() if name not in additions.without_env
        }
        for name, value in env.items():
            check_text(name, program, "env: the name {!r}", name)
            check_text(value, program, "env[{!r}]", name)
            found[name.upper()] = _Variable(name, value)
        return found

    def _search(self, program: str, environment: Mapping[str, _Variable], cwd: str | None) -> str:
        """The path of the program.

        A name without a directory is searched in the system's directories, as CreateProcess does, and in the child's
        ``PATH``. It is not searched in the current directory, where any user may have put it.
        """
        extensions = self._variable(environment, "PATHEXT", _PATHEXT).split(";")
        for directory in self._places(program, environment, cwd):
            for name in _names(program, extensions):
                place = os.path.join(directory, name) if directory else name  # noqa: PTH118 - keeps the path as given
                if os.path.isfile(place):  # noqa: PTH113
                    return place
        raise spawn_error("search", errno.ENOENT, program, detail="searched in PATH")

    def _places(self, program: str, environment: Mapping[str, _Variable], cwd: str | None) -> Iterator[str]:
        if any(separator in program for separator in "\\/:"):
            # Joining leaves an absolute path as it is.
            yield cwd or ""
            return
        system = self._environ.get("SYSTEMROOT")
        if system:
            yield os.path.join(system, "System32")  # noqa: PTH118
            yield system
        for entry in self._variable(environment, "PATH", "").split(os.pathsep):
            # A relative entry is relative to the child's directory.
            if entry:
                yield os.path.join(cwd or "", entry.strip('"'))  # noqa: PTH118

    def _variable(self, environment: Mapping[str, _Variable], name: str, default: str) -> str:
        return environment[name].value if name in environment else default

    def _stdio(self, params: SpawnParams, additions: Additions, program: str) -> tuple[int, int, int]:
        stdin = params.stdin if additions.stdin is None else stdin_of(params, additions.stdin)
        streams = zip(STREAMS[:2], (stdin, params.stdout), strict=True)
        handles = [self._stream(name, number, stream, program) for number, (name, stream) in enumerate(streams)]
        shared = params.stderr == "stdout"
        handles.append(handles[1] if shared else self._stream(STREAMS[2], 2, params.stderr, program))
        return handles[0], handles[1], handles[2]

    def _stream(self, name: str, number: int, stream: object, program: str) -> int:
        if stream == "null":
            return _NULL_DEVICE
        if stream == "inherit":
            try:
                handle = self._handle_of(number)
            except OSError:
                return _NULL_DEVICE
            # A program without a console may have no standard streams.
            return _NULL_DEVICE if handle in _NOWHERE else _signed(handle)
        if isinstance(stream, int) and not isinstance(stream, bool):
            return self._handle(name, "stdio", stream, program)
        raise invalid_argument(name, f"must be {WORDS_OF_STREAMS[name]}, not {stream!r}", program)

    def _handle(self, name: str, step: str, fd: int, program: str) -> int:
        try:
            handle = self._handle_of(fd)
        except (OSError, OverflowError):
            handle = _NOWHERE[0]
        if handle in _NOWHERE:
            raise spawn_error(step, errno.EBADF, program, detail=f"{name}: {fd}")
        return _signed(handle)


def _check_supported(params: SpawnParams) -> None:
    asked = {
        "ignore_signals": bool(params.ignore_signals),
        # Descriptor 0 equals False.
        "terminal": params.terminal is not None,
        "pty": bool(params.pty),
        "new_session": bool(params.new_session),
        "restore_signals": not params.restore_signals,
        "nice": params.nice != 0,
        "die_with_parent": params.die_with_parent,
        **{name: getattr(params, name) is not None for name in _ATTRIBUTES},
    }
    for name, wanted in asked.items():
        if wanted:
            raise invalid_argument(name, "is not to be had on Windows", params.program)


def _names(program: str, extensions: list[str]) -> list[str]:
    """The possible names of a program's file, in the order in which shutil.which tries them."""
    if any(extension and program.lower().endswith(extension.lower()) for extension in extensions):
        return [program]
    return [*(program + extension for extension in extensions if extension), program]


def _command_line(params: SpawnParams, program: str, path: str) -> str:
    # A script's interpreter searches for the first word of its command line, so that must be the full path.
    script = path.lower().endswith(_SCRIPTS)
    if isinstance(params, CommandLineParams):
        check_text(params.command_line, program, "args")
        return list2cmdline([path]) + split_line(params.command_line)[1] if script else params.command_line
    name = path if script else program if params.argv0 is None else params.argv0
    return list2cmdline([name, *params.args])


def _cwd(params: SpawnParams) -> str | None:
    if params.cwd is None:
        return None
    check_text(params.cwd, params.cwd, "cwd")
    if not os.path.exists(params.cwd):  # noqa: PTH110 - keeps the path as given
        raise spawn_error("cwd", errno.ENOENT, params.cwd)
    if not os.path.isdir(params.cwd):  # noqa: PTH112
        raise spawn_error("cwd", errno.ENOTDIR, params.cwd)
    return params.cwd


def _wide(text: str) -> bytes:
    return text.encode("utf-16-le", "surrogatepass")


def _block(environment: Mapping[str, _Variable]) -> bytes:
    """The block sorted by name, as Windows requires. An empty string ends it, and an empty block has two."""
    entries = [f"{name}={value}\0" for _, (name, value) in sorted(environment.items())]
    return _wide("".join(entries) + ("\0" if entries else "\0\0"))


def _signed(handle: int) -> int:
    """The handle as a signed number. Handles have 32 significant bits."""
    return (handle & 0xFFFFFFFF ^ 0x80000000) - 0x80000000
