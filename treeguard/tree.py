"""A process tree as an object: what a manager's verbs do, on the tree that one holds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from signal import SIGTERM
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, overload

from ._core.signalling import ask_groups, signal_tree
from ._core.validation import seconds
from ._core.waiting import run_to_completion
from .errors import GuardLost, TreeguardError
from .shutdown.ladder import Kill, Terminate
from .types import RootExit, SignalTarget

if TYPE_CHECKING:
    import asyncio

    from ._core.containment.guarantees import Containment
    from ._core.running import Running
    from ._core.streams.pty import Pty
    from ._core.trees.record import TreeRecord
    from .local import LocalProcessManager
    from .released import ReleasedTree
    from .shutdown.ladder import ShutdownReport
    from .types import ChildHandle, ProcessId, TreeStats

__all__ = ["Tree"]

#: How long, in seconds, :meth:`Tree.shutdown` waits for the tree to be empty after the kill.
_KILL_TIMEOUT = 10.0


class Tree:
    """A running process tree: its root, and everything that descends from it.

    It has all that :class:`asyncio.subprocess.Process` has.
    :func:`~treeguard.open_tree`, :func:`~treeguard.create_subprocess_exec`, :meth:`LocalProcessManager.spawn` and
    :meth:`LocalProcessManager.tree` return one. Several objects may stand for the same tree. An async context manager:
    leaving the block kills the tree and waits until it is empty::

        async with treeguard.open_tree("ls", "/", stdout=treeguard.PIPE, stderr=treeguard.PIPE) as tree:
            async for name, line in tree.lines(text=True):
                print(name, line, end="")
            print(await tree.wait())

    The verbs that only send a signal are plain methods. They need no running event loop, and must be called in the
    thread of the manager's loop.
    """

    __slots__ = ("__weakref__", "_manager", "_record", "_running")

    def __init__(self, manager: LocalProcessManager, running: Running, record: TreeRecord) -> None:
        self._manager = manager
        self._running = running
        self._record = record

    def __repr__(self) -> str:
        if self._record.lost:
            state = "guard lost"
        elif self._record.unverified:
            state = "released" if self._record.error is not None else "not empty"
        elif self._record.subtree_empty:
            state = "empty"
        elif self._record.exit is not None:
            state = "root ended"
        else:
            state = "running"
        return f"<Tree {self._record.program or self.kind} pid={self.pid} {state}>"

    @property
    def id(self) -> ProcessId:
        """The id that its manager knows it by, never reused."""
        return self._record.pid

    @property
    def pid(self) -> int:
        """The operating system's process id of the root. After the root's end it may be another process's."""
        return self._record.os_pid

    @property
    def kind(self) -> str:
        """The kind that it was spawned as."""
        return self._record.kind

    @property
    def handle(self) -> ChildHandle:
        """The value that stands for the tree where objects cannot go: on a wire, in a log."""
        return self._record.handle

    @property
    def containment(self) -> Containment:
        """The mechanism that contains it, and what that guarantees."""
        return self._manager.containment

    @property
    def exit(self) -> RootExit | None:
        """How the root ended. None: it has not ended, as far as is known now.

        Code and signal are both None for a root that has ended when nobody knows how: see :class:`RootExit`.
        """
        return self._record.exit or (RootExit() if self._record.empty else None)

    @property
    def returncode(self) -> int | None:
        """The root's exit code, or minus the number of the signal that killed it. None: as long as neither is known."""
        return None if self.exit is None else _returncode(self.exit)

    @property
    def stdin(self) -> asyncio.StreamWriter | None:
        """Writes to the root's standard input, if that is a pipe. As with asyncio, :meth:`drain` waits for room."""
        return None if self._record.streams is None else self._record.streams.stdin

    @property
    def stdout(self) -> asyncio.StreamReader | None:
        """Reads what the tree writes to standard output, if that is a pipe.

        Its lines may be of any length, unless :func:`~treeguard.create_subprocess_exec` was given a limit. Once
        :meth:`wait_empty` has returned True, the output has an end. What was written stays readable after the tree's
        block, or its manager, was left.
        """
        return None if self._record.streams is None else self._record.streams.stdout

    @property
    def stderr(self) -> asyncio.StreamReader | None:
        """The same for standard error."""
        return None if self._record.streams is None else self._record.streams.stderr

    @property
    def pty(self) -> Pty | None:
        """The tree's pseudo-terminal, if it was given one: what was written to it is read here, and input is typed.

        :meth:`communicate` takes it for what is no pipe of standard input and output.
        """
        return None if self._record.streams is None else self._record.streams.pty

    @overload
    def lines(self, *, max_line: int | None = None) -> AsyncIterator[tuple[str, bytes]]: ...
    @overload
    def lines(
        self,
        *,
        text: Literal[True],
        encoding: str | None = None,
        errors: str | None = None,
        max_line: int | None = None,
    ) -> AsyncIterator[tuple[str, str]]: ...
    @overload
    def lines(
        self, *, encoding: str, errors: str | None = None, max_line: int | None = None
    ) -> AsyncIterator[tuple[str, str]]: ...
    def lines(
        self,
        *,
        text: bool | None = None,
        encoding: str | None = None,
        errors: str | None = None,
        max_line: int | None = None,
    ) -> AsyncIterator[tuple[str, Any]]:
        """Iterates over the lines of both outputs in the order in which they arrive, each with its stream's name.

        A line is bytes, or a string with ``text`` or an ``encoding``, and has its newline at its end. Only the last
        line of a stream may have none. Order between the two streams is that in which this process reads them: lines
        that were written at about the same time may be swapped.

        A line of more than ``max_line`` bytes raises :class:`~treeguard.errors.LineTooLong`, and one that cannot be
        decoded UnicodeDecodeError, which has the bytes. Iteration may go on after either. Raises ValueError if no
        output is a pipe.
        """
        from ._core.outcome import text_mode  # noqa: PLC0415 - most trees have no pipes
        from ._core.streams.lines import Lines, check_lines  # noqa: PLC0415

        mode = text_mode(text=text, encoding=encoding, errors=errors)
        check_lines(mode, max_line)
        streams = self._record.streams
        if streams is None or not streams.readers:
            raise ValueError("neither stdout nor stderr of this tree is a pipe")
        return Lines(streams.readers, mode, max_line)

    async def communicate(
        self,
        input: bytes | bytearray | memoryview | None = None,  # noqa: A002 - asyncio's name
    ) -> tuple[bytes | None, bytes | None]:
        """Writes ``input`` and the end of standard input, reads both outputs to their ends, and waits for the root.

        Returns standard output and standard error, None for what is no pipe. As with asyncio it waits as long as any
        process holds an output open; :func:`~treeguard.arun` does not. If it is cancelled, it empties the tree, and a
        second call returns what had been written.
        """
        from ._core.streams.exchange import check_exchange, communicate  # noqa: PLC0415 - most trees have no pipes

        check_exchange(self._record, input)
        try:
            outputs = await communicate(self._record, input)
            await self.wait()
        except BaseException:
            await run_to_completion(self._end())
            raise
        return outputs

    async def wait(self) -> int:
        """Waits until the root has ended, whatever is left of its tree. Returns its :attr:`returncode`.

        Raises :class:`~treeguard.GuardLost` if the root has ended and nobody knows how, because its guard died or
        something else reaped it, and :class:`~treeguard.TreeNotEmpty` if the manager was closed before it ended.
        """
        ended = await self._manager.wait_for_root(self.id)
        code = None if ended is None else _returncode(ended)
        if code is None:
            cause = "its guard died" if self._record.lost else "another part of this program reaped it"
            raise GuardLost(f"the root of {self.id} has ended, and it is not known how: {cause}")
        return code

    async def wait_empty(self, timeout: float | None = None) -> bool:
        """Waits until nothing of the tree is left, for ``timeout`` seconds at most. Returns whether nothing is left.

        See :meth:`LocalProcessManager.wait_for_exit` for the errors.
        """
        return await self._manager.wait_for_exit(self.id, timeout)

    def send_signal(self, signal: int, to: SignalTarget = "group") -> None:
        """Sends a signal to the root's process group, and to those of the trees below it. An ended tree is no error.

        ``to="root"`` signals the root alone, and ``to="all"`` every process of the tree and of those below it, which
        looks at each process of this machine: milliseconds for hundreds. On Windows, where only groups and windows
        can be asked, both raise :class:`~treeguard.errors.RequestNotDelivered`.
        """
        self._check()
        signal_tree(self._running, self._record, signal, to)

    def terminate(self) -> None:
        """Asks the tree to end: SIGTERM (CTRL_BREAK on Windows) to the root's group, and to those below.

        Stopped processes of these groups get SIGCONT after it, since they would not hear it.
        """
        self._check()
        ask_groups(self._running, self._record, SIGTERM)

    def kill(self) -> None:
        """Kills the whole tree, and those below it. Returns when the order is given; see :meth:`wait_empty`."""
        self._check()
        if not self._record.left:
            self._running.kill(self._record)

    async def shutdown(self, grace: float = 10.0) -> ShutdownReport:
        """Asks the tree to end, waits ``grace`` seconds for it to be empty, then kills it.

        See :meth:`LocalProcessManager.shutdown` for other ladders of steps.
        """
        seconds("grace", grace)
        return await self._manager.shutdown(self.id, (Terminate(grace), Kill(_KILL_TIMEOUT)))

    async def release(self) -> ReleasedTree:
        """Lets the tree outlive this process on purpose, under its guard alone. Returns the token to take it over by.

        From then on neither the end of this process nor that of its manager ends the tree, and this object no longer
        knows of it: its verbs raise :class:`~treeguard.released.TreeReleased`, and leaving its block does nothing. The
        guard stays until the tree is empty, and ``ps`` shows it as released. The log tells of it (WARNING), with the
        token. Limits stay. A lease, a control connection and a notification socket end.

        Raises :class:`~treeguard.released.ReleaseRefused`, before anything has changed, for a tree without a guard
        (``process_group``), on other systems than Linux, for a tree with children (``parent=``), and for one whose
        pipes or terminal this process holds: use files. If this is cancelled, the tree is not released.
        """
        from ._core.releasing import release  # noqa: PLC0415 - few trees are

        self._running.enter()
        self._check()
        return await release(self._running, self._manager.containment.mechanism, self._record)

    async def members(self) -> tuple[int, ...]:
        """See :meth:`LocalProcessManager.members`."""
        return await self._manager.members(self.id)

    async def stats(self) -> TreeStats:
        """What the tree used so far, and uses now; what it used in all when it is empty."""
        return await self._manager.stats(self.id) or self._record.final_stats

    async def freeze(self, timeout: float | None = 10.0) -> None:
        """See :meth:`LocalProcessManager.freeze`."""
        await self._manager.freeze(self.id, timeout)

    async def thaw(self) -> None:
        """See :meth:`LocalProcessManager.thaw`."""
        await self._manager.thaw(self.id)

    async def __aenter__(self) -> Tree:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await run_to_completion(self._end())

    @property
    def _released(self) -> TreeguardError | None:
        """What its verbs raise once it was released."""
        record = self._record
        return record.error if record.unverified and not record.lost else None

    def _check(self) -> None:
        if self._released:
            raise self._released

    async def _end(self) -> None:
        if self._released:
            return
        self.kill()
        await self.wait_empty()
        if self._record.streams is not None:
            await self._record.streams.finish()


def _returncode(ended: RootExit) -> int | None:
    return -ended.signal if ended.signal is not None else ended.code
