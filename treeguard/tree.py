"""A process tree as an object: what a manager's verbs do, on the tree that one holds."""

from __future__ import annotations

from signal import SIGTERM
from types import TracebackType
from typing import TYPE_CHECKING

from ._core.validation import seconds, signal_number
from ._core.waiting import run_to_completion
from .errors import GuardLost
from .shutdown.ladder import Kill, Terminate
from .types import RootExit

if TYPE_CHECKING:
    from ._core.containment.guarantees import Containment
    from ._core.running import Running
    from ._core.trees.record import TreeRecord
    from .local import LocalProcessManager
    from .shutdown.ladder import ShutdownReport
    from .types import ChildHandle, ProcessId, TreeStats

__all__ = ["Tree"]

#: How long, in seconds, :meth:`Tree.shutdown` waits for the tree to be empty after the kill.
_KILL_TIMEOUT = 10.0


class Tree:
    """A running process tree: its root, and everything that descends from it.

    :meth:`LocalProcessManager.spawn` and :meth:`LocalProcessManager.tree` return one. Several objects may stand for the
    same tree. An async context manager: leaving the block kills the tree and waits until it is empty::

        async with LocalProcessManager() as manager:
            async with await manager.spawn("make", "-j4") as tree:
                print(await tree.wait())

    The verbs that only send a signal are plain methods. They need no running event loop, and must be called in the
    thread of the manager's loop.
    """

    __slots__ = ("_manager", "_record", "_running")

    def __init__(self, manager: LocalProcessManager, running: Running, record: TreeRecord) -> None:
        self._manager = manager
        self._running = running
        self._record = record

    def __repr__(self) -> str:
        if self._record.lost:
            state = "guard lost"
        elif self._record.unverified:
            state = "not empty"
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

    def send_signal(self, signal: int) -> None:
        """Sends a signal to the root's process group, and to those of the trees below it. An ended tree is no error."""
        self._running.signal(self._record, signal_number("signal", signal))

    def terminate(self) -> None:
        """Asks the tree to end: SIGTERM (CTRL_BREAK on Windows) to the root's group, and to those below."""
        self._running.signal(self._record, SIGTERM)

    def kill(self) -> None:
        """Kills the whole tree, and those below it. Returns when the order is given; see :meth:`wait_empty`."""
        if not self._record.left:
            self._running.kill(self._record)

    async def shutdown(self, grace: float = 10.0) -> ShutdownReport:
        """Asks the tree to end, waits ``grace`` seconds for it to be empty, then kills it.

        See :meth:`LocalProcessManager.shutdown` for other ladders of steps.
        """
        seconds("grace", grace)
        return await self._manager.shutdown(self.id, (Terminate(grace), Kill(_KILL_TIMEOUT)))

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

    async def _end(self) -> None:
        self.kill()
        await self.wait_empty()


def _returncode(ended: RootExit) -> int | None:
    return -ended.signal if ended.signal is not None else ended.code
