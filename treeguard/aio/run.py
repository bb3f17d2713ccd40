"""Running a command to its end from asyncio, with :func:`subprocess.run`'s arguments."""

from __future__ import annotations

import os
import sys
from subprocess import list2cmdline
from typing import TYPE_CHECKING, Any, Literal, overload

from .._core.options import ArunOptions, Command, TextOptions, keywords_of, show_keywords
from .._core.outcome import Capture, CompletedTree, Keep, OnRootExit, TextMode, check_input, checked, text_mode
from .._core.standard_names import params_of
from ..local import LocalProcessManager
from ..params import PIPE, SpawnParams
from ..types import ContainmentName
from .command import CommandRun
from .create import for_shell, shell_command
from .loops import manager_for

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["arun"]


@overload
async def arun(
    args: Command,
    *,
    text: Literal[True],
    universal_newlines: bool | None = None,
    encoding: str | None = None,
    errors: str | None = None,
    **options: Unpack[ArunOptions],
) -> CompletedTree[str]: ...
@overload
async def arun(
    args: Command,
    *,
    universal_newlines: Literal[True],
    text: bool | None = None,
    encoding: str | None = None,
    errors: str | None = None,
    **options: Unpack[ArunOptions],
) -> CompletedTree[str]: ...
@overload
async def arun(
    args: Command,
    *,
    encoding: str,
    text: bool | None = None,
    universal_newlines: bool | None = None,
    errors: str | None = None,
    **options: Unpack[ArunOptions],
) -> CompletedTree[str]: ...
@overload
async def arun(
    args: Command,
    *,
    errors: str,
    text: bool | None = None,
    universal_newlines: bool | None = None,
    encoding: str | None = None,
    **options: Unpack[ArunOptions],
) -> CompletedTree[str]: ...
@overload
async def arun(
    args: Command,
    *,
    text: Literal[False] | None = None,
    universal_newlines: Literal[False] | None = None,
    encoding: None = None,
    errors: None = None,
    **options: Unpack[ArunOptions],
) -> CompletedTree[bytes]: ...
@overload
async def arun(
    args: Command,
    *,
    text: bool | None = None,
    universal_newlines: bool | None = None,
    encoding: str | None = None,
    errors: str | None = None,
    **options: Unpack[ArunOptions],
) -> CompletedTree[Any]: ...
async def arun(
    args: Command,
    *,
    input: Any = None,  # noqa: A002 - subprocess's name
    capture_output: bool = False,
    timeout: float | None = None,
    check: bool = False,
    shell: bool = False,
    text: bool | None = None,
    universal_newlines: bool | None = None,
    encoding: str | None = None,
    errors: str | None = None,
    on_root_exit: OnRootExit = "kill",
    grace: float = 10.0,
    max_output: int | None = None,
    keep: Keep = "head",
    idle_timeout: float | None = None,
    manager: LocalProcessManager | None = None,
    containment: ContainmentName = "auto",
    **options: Any,
) -> CompletedTree[Any]:
    """Runs a command as :func:`subprocess.run` does, and returns when nothing of its tree is left.

    The result also tells how the root ended (``exit``) and which processes still lived then (``left``). These are
    killed; with ``on_root_exit="terminate"`` they get SIGTERM and ``grace`` seconds first, and with ``"wait"`` they may
    finish. A process that still holds an output then does not hold up the caller, who gets what was written.

    ``timeout``, in seconds, bounds all of it together: start, input, output, the root's end and the tree's. After it
    the tree is killed, and :class:`~treeguard.TimeoutExpired` has the output so far, as bytes. So it is when the
    command has written nothing for ``idle_timeout`` seconds. ``max_output`` bytes of each output are kept, the first
    or, with ``keep="tail"``, the last ones; the command does not notice. Cancelling empties the tree before it returns.

    With ``pty`` the command runs at a pseudo-terminal: what it writes there is its ``stdout`` if that is captured, and
    is dropped if not. ``input`` is typed, and then its end (Ctrl-D). A ``stderr`` of its own is a pipe.

    Further options say what the child is given: ``cwd``, ``env``, ``clear_env``, ``pass_fds``, ``argv0``, ``user``,
    ``group``, ``extra_groups``, ``umask``, ``nice``, ``rlimits``, ``oom_score_adj``, ``cpu_affinity``,
    ``ignore_signals``, ``new_session``, ``terminal``, ``limits``, ``isolation``, ``pipesize``, ``kind``, ``parent``,
    ``capabilities``, ``control``, ``notify``, ``watchdog``, ``max_extension``, and on Windows ``creationflags`` and
    ``show_window``. See :class:`~treeguard.SpawnParams` and docs/options.md::

        done = await treeguard.arun(["ls", "/"], capture_output=True, text=True, timeout=60)
        print(done.returncode, done.stdout, [process.name for process in done.left])
    """
    options.pop("bufsize", None)
    at_terminal = _take_streams(options, input, capture_output=capture_output)
    mode = text_mode(text=text or universal_newlines, encoding=encoding, errors=errors)
    params = _params(args, shell, options)
    wanted = (at_terminal or params.stdout == "pipe", params.stderr == "pipe")
    captures = [Capture(max_output, keep) if each else None for each in wanted]
    run = CommandRun(args, mode, timeout, idle_timeout, on_root_exit, grace, captures[0], captures[1])
    run.check(params, max_output, keep)
    done = await run.run(manager_for(manager, containment), params, _encoded(input, mode))
    return checked(done) if check else done


show_keywords(arun, keywords_of(ArunOptions, TextOptions, defaults={"bufsize": -1}))


def _take_streams(options: dict[str, Any], data: Any, *, capture_output: bool) -> bool:
    """Puts pipes for the input and for what is to be captured. Whether that is written to a terminal instead.

    Raises the standard library's errors.
    """
    if data is not None and options.get("stdin") is not None:
        raise ValueError("stdin and input arguments may not both be used.")
    if capture_output:
        if options.get("stdout") is not None or options.get("stderr") is not None:
            raise ValueError("stdout and stderr arguments may not be used with capture_output.")
        options["stdout"] = options["stderr"] = PIPE
    if not options.get("pty"):
        if data is not None:
            options["stdin"] = PIPE
        return False
    from .._core.terminals import streams_at_terminal  # noqa: PLC0415 - few commands have one

    outputs, captured = streams_at_terminal(options.get("stdout"), options.get("stderr"), capture_output=capture_output)
    options["stdout"], options["stderr"] = outputs
    return captured


def _params(args: Any, shell: bool, options: dict[str, Any]) -> SpawnParams:
    if shell and isinstance(args, os.PathLike):
        raise TypeError("path-like args is not allowed when shell is true")
    if sys.platform == "win32" and isinstance(args, str) and not shell:
        from .._core.spec.command_line import split_line, with_line  # noqa: PLC0415 - of Windows

        return with_line(params_of("arun", split_line(args)[0], (), options, like_popen=True), args)
    words: list[Any] = [args] if isinstance(args, str | bytes | os.PathLike) else list(args)
    if not words:
        raise ValueError("args must not be empty")
    if shell:
        words = [*shell_command(words[0], options.pop("executable", None)), *words[1:]]
    params: SpawnParams = params_of("arun", words[0], words[1:], options, like_popen=True)
    return for_shell(params, args if isinstance(args, str | bytes) else list2cmdline(args)) if shell else params


def _encoded(data: Any, mode: TextMode | None) -> Any:
    if not data:  # nothing at all, also where an encoding begins with a mark
        return data if data is None else b""
    check_input(data, text=mode is not None)
    return data if mode is None else mode.encode(data)
