r"""The standard library's :mod:`subprocess`, where each ``Popen`` owns a process tree.

Change the import, and keep the rest of the program::

    from treeguard import subprocess

The names, arguments, results and errors are the standard library's. What is different:

* ``kill`` and ``terminate`` mean the tree. :func:`run` and what builds on it end what the root has left, and are not
  held by a process that keeps the output open.
* No tree outlives this process, however that ends.
* The root leads a process group of its own. ``preexec_fn`` and another ``process_group`` than 0
  are refused with the reason.
* A mechanism with a guard makes the root the guard's child, so ``os.waitpid`` does not know it.

>>> from treeguard import subprocess
>>> subprocess.run(["echo", "hi"], capture_output=True, text=True).stdout
'hi\n'
"""

# No other public names than the standard library's: a program may import them all.
from __future__ import annotations

import subprocess as _subprocess
import typing
from subprocess import (
    DEVNULL,
    PIPE,
    STDOUT,
    CalledProcessError,
    CompletedProcess,
    SubprocessError,
    TimeoutExpired,
)
from subprocess import list2cmdline as list2cmdline  # noqa: PLC0414 - not in __all__, as there

from ._blocking.command import Plan as _Plan
from ._blocking.command import run_in as _run_in
from ._blocking.popen import Popen
from ._core.options import EndOptions as _EndOptions
from ._core.options import keywords_of as _keywords_of
from ._core.options import show_popens as _show_popens

if typing.TYPE_CHECKING:
    from typing_extensions import Unpack as _Unpack

    from ._core.options import CallOptions as _CallOptions
    from ._core.options import Command as _Command
    from ._core.options import OutputOptions as _OutputOptions
    from ._core.options import RunOptions as _RunOptions
    from ._core.outcome import CompletedTree as _CompletedTree
    from ._core.outcome import Keep as _Keep
    from ._core.outcome import OnRootExit as _OnRootExit

del annotations

__all__ = [
    "DEVNULL",
    "PIPE",
    "STDOUT",
    "CalledProcessError",
    "CompletedProcess",
    "Popen",
    "SubprocessError",
    "TimeoutExpired",
    "call",
    "check_call",
    "check_output",
    "getoutput",
    "getstatusoutput",
    "run",
]
# On Windows the standard library's module has more: constants, which it is asked for below.
__all__ += [name for name in _subprocess.__all__ if name not in __all__]

#: What :func:`check_output` gives itself.
_FIXED = ("stdout", "check", "capture_output")

# Those that are not replaced here are the standard library's, with this module's Popen.


@typing.overload
def run(
    args: _Command,
    bufsize: int = -1,
    *,
    text: typing.Literal[True],
    universal_newlines: bool | None = None,
    encoding: str | None = None,
    errors: str | None = None,
    **options: _Unpack[_RunOptions],
) -> _CompletedTree[str]: ...
@typing.overload
def run(
    args: _Command,
    bufsize: int = -1,
    *,
    universal_newlines: typing.Literal[True],
    text: bool | None = None,
    encoding: str | None = None,
    errors: str | None = None,
    **options: _Unpack[_RunOptions],
) -> _CompletedTree[str]: ...
@typing.overload
def run(
    args: _Command,
    bufsize: int = -1,
    *,
    encoding: str,
    text: bool | None = None,
    universal_newlines: bool | None = None,
    errors: str | None = None,
    **options: _Unpack[_RunOptions],
) -> _CompletedTree[str]: ...
@typing.overload
def run(
    args: _Command,
    bufsize: int = -1,
    *,
    errors: str,
    text: bool | None = None,
    universal_newlines: bool | None = None,
    encoding: str | None = None,
    **options: _Unpack[_RunOptions],
) -> _CompletedTree[str]: ...
@typing.overload
def run(
    args: _Command,
    bufsize: int = -1,
    *,
    text: typing.Literal[False] | None = None,
    universal_newlines: typing.Literal[False] | None = None,
    encoding: None = None,
    errors: None = None,
    **options: _Unpack[_RunOptions],
) -> _CompletedTree[bytes]: ...
@typing.overload
def run(
    args: _Command,
    *more: typing.Any,
    text: bool | None = None,
    universal_newlines: bool | None = None,
    encoding: str | None = None,
    errors: str | None = None,
    **options: _Unpack[_RunOptions],
) -> _CompletedTree[typing.Any]: ...
def run(
    *popenargs: typing.Any,
    input: typing.Any = None,  # noqa: A002 - the standard library's name
    capture_output: bool = False,
    timeout: float | None = None,
    check: bool = False,
    on_root_exit: _OnRootExit = "kill",
    grace: float = 10.0,
    max_output: int | None = None,
    keep: _Keep = "head",
    idle_timeout: float | None = None,
    **kwargs: typing.Any,
) -> _CompletedTree[typing.Any]:
    r"""Runs a command as a tree and returns its result, as :func:`subprocess.run` does. Nothing of the tree is left.

    The arguments are those of :func:`subprocess.run` and of :class:`Popen`, and besides:

    * ``timeout``, in seconds, bounds everything: the start, the input, the output, the root's end and the tree's.
    * ``on_root_exit`` says what happens to the rest of the tree when its root has ended: ``"kill"`` kills it,
      ``"terminate"`` asks it to end and kills it after ``grace`` seconds, ``"wait"`` waits until it has ended.
    * ``max_output`` is the number of bytes to keep of each captured stream: the first ones, or with ``keep="tail"`` the
      last ones. The command goes on writing.
    * ``idle_timeout``, in seconds, ends the tree if it has written nothing for so long.
    * ``containment`` asks for a mechanism by name.
    * ``pty`` runs the command at a pseudo-terminal: what it writes there is its ``stdout`` if that is captured, and is
      dropped if not. ``input`` is typed, and then its end (Ctrl-D). A ``stderr`` of its own is a pipe.
    * What the child is given: ``cwd``, ``env``, ``clear_env``, ``pass_fds``, ``argv0``, ``user``, ``group``,
      ``extra_groups``, ``umask``, ``nice``, ``rlimits``, ``oom_score_adj``, ``cpu_affinity``, ``ignore_signals``,
      ``new_session``, ``terminal``, ``limits``, ``isolation``, ``pipesize``, and on Windows ``creationflags`` and
      ``show_window``. See :class:`treeguard.SpawnParams` and docs/options.md.

    A process that holds the output after the root's end does not hold the caller: the result has what was written, and
    ``left`` names the process. With ``process_group``, a process that has left the group is found only by the output
    that it holds.

    Raises :class:`TimeoutExpired` with the output so far, as bytes, and with ``check`` :class:`CalledProcessError`.
    When Ctrl-C interrupts it, the tree is sent SIGINT and has a quarter of a second before it is killed.

    >>> done = run(["sh", "-c", "echo hi; sleep 60 & sleep 0.1; exit 3"], capture_output=True, text=True)
    >>> done.stdout, done.exit.code, [process.name for process in done.left]
    ('hi\n', 3, ['sleep'])
    """
    plan = _Plan(timeout, on_root_exit, grace, max_output, keep, idle_timeout)
    return _run_in(Popen, popenargs, kwargs, data=input, capture_output=capture_output, check=check, plan=plan)


def call(args: _Command, *more: typing.Any, timeout: float | None = None, **kwargs: _Unpack[_CallOptions]) -> int:
    """Runs a command and returns its exit status. Whatever it has left is ended."""
    if kwargs.get("pty"):
        # Somebody has to read what is written to the terminal.
        return run(args, *more, timeout=timeout, **kwargs).returncode
    # Bound to the block, also if an exception of a signal handler comes before that is entered.
    process: Popen[typing.Any]
    with Popen(args, *more, _bound=True, **kwargs) as process:  # type: ignore[call-overload]
        try:
            return process.wait(timeout=timeout)
        except BaseException:  # KeyboardInterrupt too: wait() has given it time
            process.kill()
            raise


def check_call(args: _Command, *more: typing.Any, timeout: float | None = None, **kwargs: _Unpack[_CallOptions]) -> int:
    """Like :func:`call`. Raises :class:`CalledProcessError` unless the exit status is 0."""
    status = call(args, *more, timeout=timeout, **kwargs)
    if status:
        raise CalledProcessError(status, args)
    return 0


@typing.overload
def check_output(
    args: _Command,
    bufsize: int = -1,
    *,
    text: typing.Literal[True],
    universal_newlines: bool | None = None,
    encoding: str | None = None,
    errors: str | None = None,
    **options: _Unpack[_OutputOptions],
) -> str: ...
@typing.overload
def check_output(
    args: _Command,
    bufsize: int = -1,
    *,
    universal_newlines: typing.Literal[True],
    text: bool | None = None,
    encoding: str | None = None,
    errors: str | None = None,
    **options: _Unpack[_OutputOptions],
) -> str: ...
@typing.overload
def check_output(
    args: _Command,
    bufsize: int = -1,
    *,
    encoding: str,
    text: bool | None = None,
    universal_newlines: bool | None = None,
    errors: str | None = None,
    **options: _Unpack[_OutputOptions],
) -> str: ...
@typing.overload
def check_output(
    args: _Command,
    bufsize: int = -1,
    *,
    errors: str,
    text: bool | None = None,
    universal_newlines: bool | None = None,
    encoding: str | None = None,
    **options: _Unpack[_OutputOptions],
) -> str: ...
@typing.overload
def check_output(
    args: _Command,
    bufsize: int = -1,
    *,
    text: typing.Literal[False] | None = None,
    universal_newlines: typing.Literal[False] | None = None,
    encoding: None = None,
    errors: None = None,
    **options: _Unpack[_OutputOptions],
) -> bytes: ...
@typing.overload
def check_output(
    args: _Command,
    *more: typing.Any,
    text: bool | None = None,
    universal_newlines: bool | None = None,
    encoding: str | None = None,
    errors: str | None = None,
    **options: _Unpack[_OutputOptions],
) -> typing.Any: ...
def check_output(*popenargs: typing.Any, timeout: float | None = None, **kwargs: typing.Any) -> typing.Any:
    """Runs a command and returns its output. Raises :class:`CalledProcessError` unless the exit status is 0."""
    for name in _FIXED:
        if name in kwargs:
            raise ValueError(f"{name} argument not allowed, it will be overridden.")
    if "input" in kwargs and kwargs["input"] is None:
        # The standard library takes this for an empty input.
        is_text = any(kwargs.get(name) for name in ("universal_newlines", "text", "encoding", "errors"))
        kwargs["input"] = "" if is_text else b""
    return run(*popenargs, stdout=PIPE, timeout=timeout, check=True, **kwargs).stdout


def getstatusoutput(cmd: typing.Any, *, encoding: str | None = None, errors: str | None = None) -> tuple[int, str]:
    """The exit status of a shell command, and its output and error output together, without the last newline."""
    try:
        data = check_output(cmd, shell=True, text=True, stderr=STDOUT, encoding=encoding, errors=errors)
        status = 0
    except CalledProcessError as error:
        data, status = error.output, error.returncode
    return status, data[:-1] if data[-1:] == "\n" else data


def getoutput(cmd: typing.Any, *, encoding: str | None = None, errors: str | None = None) -> str:
    """The output and error output of a shell command together, without the last newline."""
    return getstatusoutput(cmd, encoding=encoding, errors=errors)[1]


def __getattr__(name: str) -> typing.Any:
    """What is not replaced here is the standard library's: constants of Windows, and what is private."""
    return getattr(_subprocess, name)


_end = {each.name: each for each in _keywords_of(_EndOptions)}
_show_popens(run, _end.values())
_show_popens(call, [_end["timeout"]])
_show_popens(check_call, [_end["timeout"]])
_show_popens(check_output, [each for each in _end.values() if each.name not in _FIXED], without=("self", "stdout"))
