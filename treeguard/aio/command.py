"""Running a command to its end, with its output, under one deadline."""

from __future__ import annotations

import asyncio
import contextlib
import math
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

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
    check_cap,
    check_capture,
    check_idle,
    check_on_root_exit,
    check_timeout,
    dropped_by,
)
from .._core.processes.system import now, tick
from .._core.validation import optional_seconds, seconds
from .._core.waiting import aside, run_to_completion
from ..errors import TreeNotEmpty
from ..local import LocalProcessManager
from ..params import SpawnParams
from ..tree import Tree

if TYPE_CHECKING:
    from .._core.streams.streams import Streams
    from ..types import ChildHandle, RootExit

__all__ = ["CommandRun"]

#: How long, in seconds, a killed tree is waited for. SIGKILL takes milliseconds.
_KILL_TIMEOUT = 10.0
#: How long processes outside of a tree that hold its output are looked for, and the pause between two looks.
_HOLDERS_TIMEOUT = 0.5
_PAUSE = 0.002


class _Late(Exception):
    """The time is over; ``idle``: the time in which something had to be written."""

    def __init__(self, *, idle: bool) -> None:
        self.idle = idle


class CommandRun:
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
        if self._timeout is not None:
            check_timeout(self._timeout)
        seconds("grace", self._grace)
        optional_seconds("idle_timeout", self._idle_timeout)
        check_on_root_exit(self._on_root_exit)
        check_capture(max_output, keep)
        if self._idle_timeout is not None:
            check_idle(bool(params.pty) or "pipe" in (params.stdout, params.stderr))
        if max_output is not None:
            check_cap(self._stdout is not None or self._stderr is not None)

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

    async def _undo(self, manager: LocalProcessManager, starting: asyncio.Task[ChildHandle]) -> None:
        starting.cancel()
        await asyncio.wait({starting})
        if not starting.cancelled() and starting.exception() is None:
            await self._abort(manager.tree(starting.result().pid))

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
            left = await tree._running.described(tree._record)
            raise TreeNotEmpty(f"not empty {_KILL_TIMEOUT:g} s after it was killed: {left}")
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
                # Until then the terminal stays open. After that, its number may be that of somebody else's.
                seen = await run_to_completion(
                    aside(partial(end_holders, pipes, self._since if escapees else math.inf))
                )
            except (OSError, RuntimeError):  # nothing can be seen, or there is no thread to look
                break
            found.update((each.pid, each) for each in seen)
            if not (escapees and seen):
                break
            await asyncio.sleep(_PAUSE)
        return tuple(each for each in found.values() if each not in self._left)

    # What is told.

    def _output(self, capture: Capture | None) -> bytes | str | None:
        if capture is None or self._mode is None:
            return None if capture is None else capture.value
        return self._mode.decode(capture.value, cut=capture.dropped > 0)

    def _completed(self, tree: Tree, returncode: int) -> CompletedTree[Any]:
        outputs = map(self._output, (self._stdout, self._stderr))
        dropped = dropped_by((self._stdout, self._stderr))
        return CompletedTree(self._args, returncode, *outputs, exit=tree.exit, left=self._left, dropped=dropped)

    def _expired(self, *, idle: bool) -> TimeoutExpired:
        seconds = (self._idle_timeout if idle else self._timeout) or 0.0
        # Bytes in text mode too, as from the standard library: they may end within a character.
        captures = (self._stdout, self._stderr)
        output, errors = [capture and (capture.value or None) for capture in captures]
        return TimeoutExpired(
            *(self._args, seconds),
            output=output,
            stderr=errors,
            idle=idle,
            exit=self._exit,
            left=self._left,
            dropped=dropped_by(captures),
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
