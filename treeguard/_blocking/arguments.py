"""From the arguments of the standard library's ``Popen`` to the parameters of a tree."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from .._core import given as _given  # noqa: F401 - not when the first pipes are open, and descriptors may be short
from .._core.inheritable import ignored_signals, inheritable_fds
from .._core.options import ChildOptions, ManagedOptions, PopenOptions
from .._core.spec.arguments import STREAMS, WORDS_OF_STREAMS
from .._core.standard_names import check_preexec, child_fields
from .._core.validation import wrong_type
from ..errors import BrokenInstall, SpawnError, invalid_argument
from ..params import DEVNULL, PIPE, STDOUT, SpawnParams

if TYPE_CHECKING:
    from .._core.spec import Additions
    from .popen import Popen

__all__ = [
    "LEFT_TO_POPEN",
    "Options",
    "clears",
    "error_of",
    "given_terminal",
    "kept_open",
    "params_of",
    "plain_options",
    "plain_params",
    "stream_of",
    "streams_of",
    "taken_out",
]

#: What the standard library's ``Popen`` makes of these is what a tree is given. The rest is handed on beside it.
LEFT_TO_POPEN = frozenset(
    (
        *("args", "bufsize", "stdin", "stdout", "stderr", "shell", "universal_newlines", "text", "encoding", "errors"),
        *("executable", "cwd", "env", "close_fds", "pass_fds", "restore_signals", "start_new_session", "preexec_fn"),
        *(("creationflags", "startupinfo") if sys.platform == "win32" else ()),
    )
)
_HANDED_ON = frozenset(ChildOptions.__annotations__ | PopenOptions.__annotations__) - LEFT_TO_POPEN - {"containment"}


_OF_MANAGERS = frozenset(ManagedOptions.__annotations__) | {"manager"}
#: Steps for which the standard library has no words, or does not know them: ours say what failed, and what it takes.
_WORDLESS = frozenset(
    (
        *("nice", "oom_score_adj", "cpu_affinity", "rlimits", "groups", "group", "user"),
        *("pipesize", "terminal", "pty", "isolation", "limit", "pass_fds", "stdio"),
    )
)


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


def taken_out(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Takes the arguments out that the standard library's ``Popen`` does not know, or has other errors for.

    Returns the fields of :class:`~treeguard.SpawnParams` for them. Raises TypeError or ValueError.
    """
    for name in _OF_MANAGERS.intersection(kwargs):
        raise TypeError(
            f"{name} must not be given to run and Popen: it takes a manager with an event loop, as arun, open_tree and "
            "LocalProcessManager.spawn have"
        )
    given = {name: kwargs.pop(name) for name in _HANDED_ON.intersection(kwargs)}
    return child_fields("Popen", given, like_popen=False)


def _executable_of(options: Options) -> Any:
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


#: The parameters of plain commands, by all that they depend on: those of a command that is run again are the same
#: object, of which it is known what it was compiled to.
_known: dict[tuple[object, ...], SpawnParams] = {}
#: How many are remembered, and of how many characters at most.
_MOST_KNOWN, _LONGEST_KNOWN = 64, 1000
_TEXT = frozenset({str})
#: From ``executable`` to ``shell``, and from ``gid`` on, if nothing is given.
_PLAIN = (None, None, True, (), None, None, None, 0, False)
_ENDS = ((None, None, None, -1, False, -1), (None, None, None, -1, False))


def params_of(options: Options, further: Mapping[str, Any]) -> SpawnParams:
    """The parameters of a tree, whose pipes have the size that was asked for. ``further``: what has been taken out."""
    args = options.args
    if (
        further
        or options[1:10] != _PLAIN
        or options[17:] not in _ENDS
        or type(args) is not list
        or not _TEXT.issuperset(map(type, args))
    ):
        return _params_of(options, further)
    key = (*args, *options[10:17], ignored_signals(restore=options.restore_signals))
    known = _known.get(key)
    if known is None:
        known = _params_of(options, further)
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        if sum(map(len, args)) <= _LONGEST_KNOWN:
            _known[key] = known
    return known


def plain_options(args: list[str]) -> Options:
    """What ``Popen`` makes of a command alone."""
    return Options(args, *_PLAIN, *(-1,) * 6, True, *_ENDS[0])


#: The same, by ignored signals and arguments alone.
_plain: dict[tuple[object, ...], SpawnParams] = {}


def plain_params(args: list[str]) -> SpawnParams:
    """The parameters of a tree for a command alone."""
    if not _TEXT.issuperset(map(type, args)):
        return params_of(plain_options(args), {})
    key = (ignored_signals(restore=True), *args)
    known = _plain.get(key)
    if known is None:
        known = params_of(plain_options(args), {})
        if len(_plain) >= _MOST_KNOWN:
            _plain.clear()
        if sum(map(len, args)) <= _LONGEST_KNOWN:
            _plain[key] = known
    return known


def _params_of(options: Options, further: Mapping[str, Any]) -> SpawnParams:
    check_preexec(options.preexec_fn)
    if options.shell and isinstance(options.args, os.PathLike):
        raise TypeError("path-like args is not allowed when shell is true")
    args = _arguments_of(options)
    if not args:
        raise ValueError("args must not be empty")
    executable = args[0] if options.executable is None else options.executable
    streams = (options.p2cread, options.c2pwrite, options.errwrite)
    stdin, stdout, stderr = _INHERITED if streams == (-1, -1, -1) else map(stream_of, streams)
    env = options.env
    fields: dict[str, Any] = {}
    if args[0] is not executable:
        fields["argv0"] = args[0]
    if options.start_new_session:
        # Not False otherwise: what is given is checked, which takes longer than the rest.
        fields["new_session"] = True
    if further:
        fields.update(further)
    params = SpawnParams(
        executable
        if type(executable) is str
        else _decoded("args[0]" if executable is args[0] else "executable", executable),
        tuple(args[1:]),
        env={} if env is None else env,
        clear_env=clears(fields.pop("clear_env", None), env),
        cwd=options.cwd,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        pass_fds=kept_open(options.pass_fds) if options.close_fds else inheritable_fds(),
        ignore_signals=_ignored(options.restore_signals, fields.pop("ignore_signals", ())),
        **fields,
    )
    if params.pipesize > 0:
        from .._core.streams.pipes import set_pipe_sizes  # noqa: PLC0415 - few ask for it

        ends = (options.p2cwrite, options.c2pread, options.errread)
        set_pipe_sizes((fd for fd in ends if fd >= 0), params.pipesize, params.program)
    return params


def _ignored(restore: bool, more: Any) -> Any:
    ignored = ignored_signals(restore=restore)
    return ignored if more == () else (*more, *ignored)


def clears(asked: Any, env: object) -> Any:
    """Whether ``env`` is the whole environment, if that was not said."""
    return env is not None if asked is None else asked


_INHERITED: tuple[Literal["inherit"], ...] = ("inherit",) * 3


def stream_of(fd: int) -> int | Literal["inherit"]:
    """The parameter for a stream's descriptor; -1: there is none."""
    if fd < -1:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    return "inherit" if fd < 0 else int(fd)


def kept_open(fds: Iterable[int]) -> tuple[int, ...]:
    """The parameter for ``pass_fds``."""
    if fds == ():
        return ()
    try:
        # The standard library takes what is like a number.
        numbers = tuple([int(fd) for fd in fds])
    except (TypeError, ValueError) as error:
        raise type(error)(str(wrong_type("pass_fds", "a sequence of descriptors' numbers", fds))) from None
    if numbers and min(numbers) < 0:
        raise ValueError("bad value(s) in pass_fds")
    return numbers


def _decoded(name: str, value: Any) -> str:
    try:
        return os.fsdecode(value)
    except TypeError:
        raise wrong_type(name, "a string or a path", value) from None


#: What the words of ``SpawnParams`` are for ``Popen``.
_WORDS = {"inherit": None, "null": DEVNULL, "pipe": PIPE}


def streams_of(given: Sequence[Any]) -> list[Any]:
    """The streams as ``Popen`` takes them. Raises TypeError or ValueError for what is none."""
    streams = []
    for name, stream in zip(STREAMS, given, strict=True):
        words = {**_WORDS, "stdout": STDOUT} if name == "stderr" else _WORDS
        if isinstance(stream, str) and stream in words:
            streams.append(words[stream])
        elif stream is None or hasattr(stream, "fileno") or isinstance(stream, int):
            streams.append(stream)
        else:
            raise invalid_argument(name, f"must be {WORDS_OF_STREAMS[name]}, not {stream!r}", None)
    return streams


def error_of(error: SpawnError, options: Options) -> SpawnError:
    """The same error with the words that the standard library has for it, and the name as the caller gave it."""
    if error.errno is None or error.step in _WORDLESS or isinstance(error, ValueError | BrokenInstall):
        return error
    about = {"cwd": options.cwd, "search": _executable_of(options), "exec": _executable_of(options)}.get(error.step)
    plain = type(error)(error.errno, os.strerror(error.errno), *(() if about is None else (about,)))
    plain.step = error.step
    return plain


def given_terminal(process: Popen[Any], params: SpawnParams, additions: Additions) -> SpawnParams:
    """Opens the terminal of a process. Returns the parameters with it, and puts what is added to them."""
    if sys.platform == "win32":
        raise invalid_argument("pty", "is not to be had on Windows", params.program)
    from .terminal import open_terminal  # noqa: PLC0415 - few processes have one

    return open_terminal(process, params, additions)
