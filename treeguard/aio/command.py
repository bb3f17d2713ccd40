"""Running a command to its end, with its output, under one deadline."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, overload

from .._core.inspection.holders import end_holders
from .._core.inspection.left import left_of
from .._core.outcome import (
    Capture,
    CompletedTree,
    Keep,
    Left,
    OnRootExit,
    TextMode,
    TimeoutExpired,
    check_capture,
    check_on_root_exit,
    checked,
    text_mode,
)
from .._core.processes.system import now, tick
from .._core.validation import optional_seconds, seconds
from .._core.waiting import aside, run_to_completion
from ..errors import TreeNotEmpty
from ..local import LocalProcessManager
from ..params import PIPE, SpawnParams, StrPath
from ..tree import Tree
from .create import shell_command
from .loops import manager_of_loop
from .popen import program_named, spawn_options, streams_named

if TYPE_CHECKING:
    from typing_extensions import TypedDict, Unpack

    from .._core.streams.streams import Streams
    from ..params import SpawnOptions
    from ..types import ChildHandle, RootExit

    class RunOptions(SpawnOptions, TypedDict, total=False):
        """What :func:`arun` takes, but what makes its output text."""

        input: Any
        capture_output: bool
        timeout: float | None
        check: bool
        shell: bool
        errors: str | None
        on_root_exit: OnRootExit
        grace: float
        max_output: int | None
        keep: Keep
        idle_timeout: float | None
        manager: LocalProcessManager | None


__all__ = ["arun"]

#: What :mod:`subprocess` takes: a program with its arguments, or one string.
Command: TypeAlias = "StrPath | bytes | Sequence[StrPath | bytes]"

#: How long, in seconds, a killed tree is waited for. SIGKILL takes milliseconds.
_KILL_TIMEOUT = 10.0
#: How long processes outside of a tree that hold its output are looked for, and the pause between two looks.
_HOLDERS_TIMEOUT = 0.5
_PAUSE = 0.002


@overload
async def arun(args: Command, *, text: Literal[True], **options: Unpack[RunOptions]) -> CompletedTree[str]: ...
@overload
async def arun(args: Command, *, encoding: str, **options: Unpack[RunOptions]) -> CompletedTree[str]: ...
@overload
async def arun(args: Command, **options: Unpack[RunOptions]) -> CompletedTree[bytes]: ...
async def arun(
    args: Command,
    *,
    stdin: Any = None,
    input: Any = None,  # noqa: A002 - subprocess's name
    stdout: Any = None,
    stderr: Any = None,
    capture_output: bool = False,
    timeout: float | None = None,
    check: bool = False,
    shell: bool = False,
    text: bool | None = None,
    encoding: str | None = None,
    errors: str | None = None,
    on_root_exit: OnRootExit = "kill",
    grace: float = 10.0,
    max_output: int | None = None,
    keep: Keep = "head",
    idle_timeout: float | None = None,
    manager: LocalProcessManager | None = None,
    **options: Any,
) -> CompletedTree[Any]:
    """Runs a command as :func:`subprocess.run` does, and returns when nothing of its tree is left.

    The result also tells how the root ended (``exit``) and which processes still lived then (``left``). These are
    killed; with ``on_root_exit="terminate"`` they get SIGTERM and ``grace`` seconds first, and with ``"wait"`` they may
    finish. A process that still holds an output then does not hold up the caller, who gets what was written.

    ``timeout``, in seconds, bounds all of it together: start, input, output, the root's end and the tree's. After it
    the tree is killed, and :class:`~treeguard.TimeoutExpired` has the output so far. So it is when the command has
    written nothing for ``idle_timeout`` seconds. ``max_output`` bytes of each output are kept, the first or, with
    ``keep="tail"``, the last ones; the command does not notice. Cancelling empties the tree before it returns.

    With ``pty`` the command runs at a pseudo-terminal: what it writes there is its ``stdout`` if that is captured, and
    is dropped if not. ``input`` is typed, and then its end (Ctrl-D). A ``stderr`` of its own is a pipe.

    Further options are the other ones of :func:`create_subprocess_exec`; ``env`` is the whole environment::

        done = await treeguard.arun(["ls", "/"], capture_output=True, text=True, timeout=60)
        print(done.returncode, done.stdout, [process.name for process in done.left])
    """
    streams, at_terminal = _streams(stdin, stdout, stderr, input, capture_output, options.get("pty"))
    mode = text_mode(text=text or options.pop("universal_newlines", None), encoding=encoding, errors=errors)
    params = _params(args, streams, shell, options)
    wanted = (at_terminal or params.stdout == "pipe", params.stderr == "pipe")
    captures = [Capture(max_output, keep) if each else None for each in wanted]
    run = _Run(args, mode, timeout, idle_timeout, on_root_exit, grace, captures[0], captures[1])
    run.check(params, max_output, keep)
    done = await run.run(manager or manager_of_loop(), params, _encoded(input, mode))
    return checked(done) if check else done


def _streams(
    stdin: Any, stdout: Any, stderr: Any, given: Any, capture_output: bool, pty: Any
) -> tuple[tuple[Any, Any, Any], bool]:
    """The streams, and whether what is captured is written to a terminal."""
    if given is not None and stdin is not None:
        raise ValueError("stdin and input arguments may not both be used.")
    if capture_output and not stdout is stderr is None:
        raise ValueError("stdout and stderr arguments may not be used with capture_output.")
    if capture_output:
        stdout = stderr = PIPE
    if not pty:
        return (stdin if given is None else PIPE, stdout, stderr), False
    from .._core.terminals import streams_at_terminal  # noqa: PLC0415 - few commands have one

    outputs, captured = streams_at_terminal(stdout, stderr, capture_output=capture_output)
    return (stdin, *outputs), captured


def _params(args: Any, streams: tuple[Any, Any, Any], shell: bool, options: dict[str, Any]) -> SpawnParams:
    executable = options.pop("executable", None) if shell else None
    words: list[Any] = [args] if isinstance(args, str | bytes | os.PathLike) else list(args)
    if not words:
        raise ValueError("args must not be empty")
    if shell:
        words = [*shell_command(words[0], executable), *words[1:]]
    words[0] = program_named(words[0], options)
    given = spawn_options(options)
    return SpawnParams(words[0], words[1:], **streams_named(*streams), **given)


def _encoded(data: Any, mode: TextMode | None) -> Any:
    if data is not None and not data:  # nothing at all, also where an encoding begins with a mark
        return b""
    if isinstance(data, str) and mode is not None:
        return mode.encode(data)
    if data is not None and not isinstance(data, bytes | bytearray | memoryview):
        raise TypeError(f"input must be {'bytes' if mode is None else 'a string'}, not {type(data).__name__}")
    return data


class _Late(Exception):
    """The time is over; ``idle``: the time in which something had to be written."""

    def __init__(self, *, idle: bool) -> None:
        self.idle = idle


class _Run:
    """One command on its way."""

    def __init__(
        self,
        args: Any,
        mode: TextMode | None,
        timeout: float | None,
        idle_timeout: float | None,
        on_root_exit: OnRootExit,
        grace: float,
        stdout: Capture | None,
        stderr: Capture | None,
    ) -> None:
        self._args = args
        self._mode = mode
        self._timeout = timeout
        self._idle_timeout = idle_timeout
        self._on_root_exit = on_root_exit
        self._grace = grace
        self._stdout = stdout
        self._stderr = stderr
        self._exit: RootExit | None = None
        self._left: tuple[Left, ...] = ()
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._since = 0.0 if sys.platform == "win32" else math.floor(now() / tick())

    def check(self, params: SpawnParams, max_output: int | None, keep: Keep) -> None:
        """Raises ValueError or TypeError for what makes no sense, before anything is started."""
        optional_seconds("timeout", self._timeout)
        seconds("grace", self._grace)
        optional_seconds("idle_timeout", self._idle_timeout)
        check_on_root_exit(self._on_root_exit)
        check_capture(max_output, keep)
        if self._idle_timeout is not None and not params.pty and "pipe" not in (params.stdout, params.stderr):
            raise ValueError("idle_timeout needs an output that is a pipe")

    async def run(self, manager: LocalProcessManager, params: SpawnParams, data: Any) -> CompletedTree[Any]:
        """Runs the command. However this ends, nothing of the tree is left."""
        tree = await self._start(manager, params)
        try:
            try:
                self._converse(tree, data)
                await self._end(tree, manager)
            except _Late as late:
                await self._kill(tree, manager)
                raise self._expired(idle=late.idle) from None
        except BaseException:
            await run_to_completion(self._abort(tree))
            raise
        return self._completed(tree, await tree.wait())

    # The start.

    async def _start(self, manager: LocalProcessManager, params: SpawnParams) -> Tree:
        if self._timeout is None:
            return manager.tree((await manager.spawn_child(params)).pid)
        # asyncio.wait_for may swallow a cancellation before Python 3.12.
        starting = asyncio.ensure_future(manager.spawn_child(params))
        try:
            await asyncio.wait({starting}, timeout=self._timeout)
        except BaseException:
            await run_to_completion(self._undo(manager, starting))
            raise
        if not starting.done():
            await run_to_completion(self._undo(manager, starting))
            raise self._expired(idle=False)
        return manager.tree(starting.result().pid)

    @staticmethod
    async def _undo(manager: LocalProcessManager, starting: asyncio.Task[ChildHandle]) -> None:
        starting.cancel()
        await asyncio.wait({starting})
        if not starting.cancelled() and starting.exception() is None:
            await manager.tree(starting.result().pid)._end()

    # The time in between.

    def _converse(self, tree: Tree, data: Any) -> None:
        streams = tree._record.streams
        if streams is not None:
            # What is written to a terminal is read in any case, or the command would have to wait.
            streams.collect(self._stdout or Capture(0), self._stderr or Capture(0), tree._record.wake)
            streams.feed(data)

    async def _until(self, tree: Tree, done: Callable[[], bool]) -> None:
        """Waits until ``done``. Raises :class:`_Late`."""
        while not await tree._record.until(done, self._remaining(tree)):
            if self._timeout is not None and self._loop.time() >= self._began + self._timeout:
                raise _Late(idle=False)
            if self._idle_timeout is not None and self._loop.time() >= self._heard(tree) + self._idle_timeout:
                raise _Late(idle=True)

    def _remaining(self, tree: Tree) -> float | None:
        ends = []
        if self._timeout is not None:
            ends.append(self._began + self._timeout)
        if self._idle_timeout is not None:
            ends.append(self._heard(tree) + self._idle_timeout)
        return max(0.0, min(ends) - self._loop.time()) if ends else None

    def _heard(self, tree: Tree) -> float:
        """When the tree has written something last."""
        streams = tree._record.streams
        return max(reader.last for reader in streams.readers) if streams is not None else self._began

    # The end.

    async def _end(self, tree: Tree, manager: LocalProcessManager) -> None:
        record = tree._record
        await self._until(tree, lambda: record.exit is not None or record.empty)
        self._exit = tree.exit
        self._left = await _left(tree)
        if self._on_root_exit == "wait":
            streams = record.streams
            await self._until(tree, lambda: record.left and (streams is None or streams.ended))
        elif self._on_root_exit == "terminate" and not record.left:
            await self._terminate(tree, manager)
        await self._kill(tree, manager)

    async def _terminate(self, tree: Tree, manager: LocalProcessManager) -> None:
        # What cannot be asked is killed.
        with contextlib.suppress(OSError):
            tree.terminate()
        with contextlib.suppress(OSError):
            await manager.terminate_members(tree.id)
        grace = self._grace
        if self._timeout is not None:
            grace = max(0.0, min(grace, self._began + self._timeout - self._loop.time()))
        await tree._record.until(lambda: tree._record.left, grace)

    async def _kill(self, tree: Tree, manager: LocalProcessManager) -> None:
        tree.kill()
        if not await manager.wait_for_exit(tree.id, _KILL_TIMEOUT):
            raise TreeNotEmpty(f"the tree of {tree.pid} was killed, and is not empty after {_KILL_TIMEOUT:g} s")
        await self._finish_output(tree)

    async def _abort(self, tree: Tree) -> None:
        tree.kill()
        # Of processes that cannot be killed the error is told already.
        await tree.wait_empty(_KILL_TIMEOUT)
        await self._finish_output(tree)

    async def _finish_output(self, tree: Tree) -> None:
        """Takes what was written. A process outside of the tree that still holds the output is not waited for."""
        streams = tree._record.streams
        if streams is None:
            return
        if sys.platform != "win32" and not streams.read_rest():
            self._left += await self._end_holders(tree, streams)
        await streams.finish()

    async def _end_holders(self, tree: Tree, streams: Streams) -> tuple[Left, ...]:
        """Names who holds the output of an empty tree, and kills them if a tree does not contain its escapees."""
        escapees = not tree.containment.contains_escapees
        pipes = streams.identities
        found: dict[int, Left] = {}
        last = self._loop.time() + _HOLDERS_TIMEOUT
        while not streams.read_rest() and self._loop.time() < last:
            try:
                seen = await aside(partial(end_holders, pipes, self._since if escapees else math.inf))
            except (OSError, RuntimeError):  # nothing can be seen, or there is no thread to look
                break
            found.update((each.pid, each) for each in seen)
            if not (escapees and seen):
                break
            await asyncio.sleep(_PAUSE)
        return tuple(each for each in found.values() if each not in self._left)

    # What is told.

    def _outputs(self, *, so_far: bool) -> tuple[Any, Any]:
        return self._output(self._stdout, so_far), self._output(self._stderr, so_far)

    def _output(self, capture: Capture | None, so_far: bool) -> bytes | str | None:
        if capture is None or self._mode is None:
            return None if capture is None else capture.value
        return self._mode.decode(capture.value, cut=so_far or capture.dropped > 0)

    def _completed(self, tree: Tree, returncode: int) -> CompletedTree[Any]:
        outputs = self._outputs(so_far=False)
        dropped = [0 if capture is None else capture.dropped for capture in (self._stdout, self._stderr)]
        return CompletedTree(
            self._args, returncode, *outputs, exit=tree.exit, left=self._left, dropped=(dropped[0], dropped[1])
        )

    def _expired(self, *, idle: bool) -> TimeoutExpired:
        seconds = (self._idle_timeout if idle else self._timeout) or 0.0
        outputs = self._outputs(so_far=True)
        return TimeoutExpired(
            *(self._args, seconds), output=outputs[0], stderr=outputs[1], idle=idle, exit=self._exit, left=self._left
        )


async def _left(tree: Tree) -> tuple[Left, ...]:
    """What lives of a tree whose root has ended."""
    record = tree._record
    inside = None if record.subtree_empty else tree._running.inspection(record)
    if inside is None:
        return ()
    pipes = frozenset() if record.streams is None else record.streams.identities
    try:
        return await aside(partial(left_of, inside.members, pipes))
    except (OSError, RuntimeError):  # nothing can be seen, or there is no thread to look
        return ()
