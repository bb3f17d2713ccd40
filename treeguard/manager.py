"""What a process manager is: the contract, without any processes."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod

from .params import SpawnParams
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
