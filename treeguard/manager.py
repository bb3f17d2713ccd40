"""What a process manager is: the contract, without any processes."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence

from .params import SpawnParams
from .shutdown.driver import shutdown_tree
from .shutdown.ladder import GENTLE, ShutdownReport, ShutdownStep
from .shutdown.together import LadderOf, shutdown_trees
from .types import ChildHandle, ConnectionId, ProcessId

__all__ = ["ProcessManager"]


class ProcessManager(ABC):
    """Starts children and ends them with everything that they started.

    A manager answers for every id that it ever issued, also long after the child's end; for any other it raises
    :class:`~treeguard.UnknownProcess`.
    """

    @abstractmethod
    async def spawn_child(self, params: SpawnParams) -> ChildHandle:
        """Starts a child and returns when its program runs.

        Raises :class:`~treeguard.SpawnError`; then, and when it is cancelled at any moment, nothing of the child is
        left.
        """

    @abstractmethod
    async def attach_connection(self, pid: ProcessId, conn: ConnectionId) -> None:
        """Binds a control connection to a child that lives."""

    @abstractmethod
    async def list_children(self) -> list[ChildHandle]:
        """The children whose trees are not empty yet, in the order in which they were spawned."""

    @abstractmethod
    async def terminate_tree(self, pid: ProcessId, force: bool) -> None:
        """Asks a child and those below it to end, or with ``force`` orders it; below first.

        Without ``force`` the root's group gets SIGTERM (CTRL_BREAK on Windows), and may do with it what it likes. With
        it, this returns when the kill has been issued; :meth:`wait_for_exit` tells when it is done. A tree that has
        ended is no error.
        """

    async def wait_for_exit(self, pid: ProcessId, timeout: float | None) -> bool:
        """Waits until the tree is empty, no longer than ``timeout`` seconds (None: without end). Whether it is.

        This default knows nothing of its processes: it waits the time out and says False.
        """
        if timeout is None:
            await asyncio.get_running_loop().create_future()
        else:
            await asyncio.sleep(timeout)
        return False

    async def kill_tree(self, pid: ProcessId) -> None:
        """Ends a tree, and those below it, by force."""
        await self.terminate_tree(pid, force=True)

    async def members(self, pid: ProcessId) -> Sequence[int] | None:
        """The operating system's process ids of a tree, and of those below it. This default cannot tell: None."""
        return None

    async def terminate_members(self, pid: ProcessId) -> None:  # noqa: B027 - a default
        """SIGTERM to those processes of a tree that :meth:`terminate_tree` does not reach. By default, to none."""

    async def shutdown(
        self, pid: ProcessId, ladder: Sequence[ShutdownStep] = GENTLE, *, deadline: float | None = None
    ) -> ShutdownReport:
        """Ends a tree, and those below it, step by step: see :mod:`treeguard.shutdown`.

        Each step has its own time, in seconds; it is over when the tree is empty. After ``deadline`` seconds in all
        nothing is tried any more but :class:`~treeguard.shutdown.Kill`, the last step of every ladder. A tree that is
        empty already is asked for nothing.

        An error of a step is in the report and leads to the next one; errors of the kill, and of waiting, are raised.
        When this is cancelled, or fails after its beginning, the tree is ended by force first.
        """
        return await shutdown_tree(self, pid, ladder, deadline=deadline)

    async def shutdown_all(
        self, ladder: LadderOf = GENTLE, *, deadline: float | None = None
    ) -> tuple[ShutdownReport, ...]:
        """Ends all trees as :meth:`shutdown` does, in parallel; what they answered, in the order in which they ended.

        ``ladder`` is that of every child, or a function that is called with each child for its own. A parent's turn
        comes when the trees of its children have been shut down. ``deadline``, in seconds, is one for all; what is left
        of it is shared evenly by a child and those that wait for it in line, so that a stubborn child does not leave
        its parent without the time to be asked.

        Children that are spawned meanwhile are shut down too. Errors are raised after all had their turn; when this is
        cancelled, all trees are ended by force first.
        """
        return await shutdown_trees(self, ladder, deadline=deadline)
