"""The interface of a process manager, without any implementation of processes."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from signal import SIGTERM
from typing import TYPE_CHECKING

from ._core.validation import optional_seconds
from .params import SpawnParams
from .types import ChildHandle, ConnectionId, ProcessId, RootExit

if TYPE_CHECKING:
    from .shutdown.ladder import Ladder, ShutdownReport
    from .shutdown.together import LadderOf
    from .types import SignalTarget

__all__ = ["ProcessManager"]


class ProcessManager(ABC):
    """Starts children, and ends them together with everything that they started.

    A manager answers for every id that it ever issued, even long after the child's end. For any other id it raises
    :class:`~treeguard.UnknownProcess`.
    """

    @abstractmethod
    async def spawn_child(self, params: SpawnParams) -> ChildHandle:
        """Starts a child and returns once its program runs.

        Raises :class:`~treeguard.SpawnError`. If it raises, or is cancelled at any moment, nothing of the child is
        left.
        """

    @abstractmethod
    async def attach_connection(self, pid: ProcessId, conn: ConnectionId) -> None:
        """Binds a control connection to a living child."""

    @abstractmethod
    async def list_children(self) -> list[ChildHandle]:
        """Returns the children whose trees are not empty yet, in the order in which they were spawned."""

    @abstractmethod
    async def terminate_tree(self, pid: ProcessId, force: bool) -> None:
        """Asks a child and those below it to end, or kills them with ``force``. The lowest ones come first.

        Without ``force`` the root's group gets SIGTERM (CTRL_BREAK on Windows), which the processes may handle or
        ignore. With ``force`` this returns once the kill has been issued; use :meth:`wait_for_exit` to wait for its
        completion. The call has no effect on a tree that has ended.
        """

    async def wait_for_exit(self, pid: ProcessId, timeout: float | None) -> bool:
        """Waits until the tree is empty, for at most ``timeout`` seconds (None: forever). Returns whether it is empty.

        This default implementation knows no processes: it waits for the whole time and returns False.
        """
        optional_seconds("timeout", timeout)
        if timeout is None:
            await asyncio.get_running_loop().create_future()
        else:
            await asyncio.sleep(timeout)
        return False

    async def kill_tree(self, pid: ProcessId) -> None:
        """Ends a tree, and those below it, by force."""
        await self.terminate_tree(pid, force=True)

    async def members(self, pid: ProcessId) -> Sequence[int] | None:
        """Returns the system's process ids of a tree and of those below it. The default returns None: unknown."""
        return None

    async def terminate_members(self, pid: ProcessId) -> None:  # noqa: B027 - a default implementation
        """Sends SIGTERM to those processes that :meth:`terminate_tree` does not reach. The default sends nothing."""

    async def ask_tree(self, pid: ProcessId, number: int = SIGTERM, to: SignalTarget | None = None) -> None:
        """Asks a tree to end by a signal, and those below it; stopped processes that it reaches go on to hear it.

        ``to`` is ``"group"``: the groups of the roots; ``"root"``: the root alone; ``"all"``: every process. None: the
        groups, and where a root has ended and nobody is left in its group, as after the start of a classic daemon, the
        main process that was announced (``MAINPID``), or else every process of that tree. Each is signalled once.

        The default is made of :meth:`terminate_tree` and :meth:`terminate_members`. It can send SIGTERM only, and not
        to a root alone: NotImplementedError.
        """
        if number != SIGTERM or to == "root":
            raise NotImplementedError(f"{type(self).__name__} sends SIGTERM only, and not to a root alone")
        await self.terminate_tree(pid, force=False)
        if to == "all":
            await self.terminate_members(pid)

    async def ask_rest(self, pid: ProcessId, number: int = SIGTERM) -> None:  # noqa: B027 - a default implementation
        """Waits until a root has ended and nobody is left in its group, and asks what is left as :meth:`ask_tree` does.

        Returns when that was asked, or is gone. The default returns at once.
        """

    async def wait_for_root(self, pid: ProcessId, timeout: float | None = None) -> RootExit | None:
        """Waits until the root has ended, for at most ``timeout`` seconds. Returns how; None: it has not.

        The default knows of no roots, and waits until the tree is empty.
        """
        return RootExit() if await self.wait_for_exit(pid, timeout) else None

    async def shutdown(
        self, pid: ProcessId, ladder: Ladder = "gentle", *, deadline: float | None = None
    ) -> ShutdownReport:
        """Ends a tree, and those below it, step by step: see :mod:`treeguard.shutdown`.

        ``ladder`` is a sequence of steps, or ``"gentle"`` for :data:`~treeguard.shutdown.GENTLE`: SIGTERM, and 10
        seconds later the kill.

        Each step has its own time in seconds, and ends early when the tree is empty. Once ``deadline`` seconds have
        passed in total, the only step still taken is :class:`~treeguard.shutdown.Kill`, the last step of every ladder.
        No step is taken if the tree is already empty.

        The error of a step goes into the report, and the next step follows. Errors of the kill and of the wait are
        raised. If this call is cancelled, or fails after the first look at the tree, it ends the tree by force before
        it raises.
        """
        from .shutdown.driver import shutdown_tree

        return await shutdown_tree(self, pid, ladder, deadline=deadline)

    async def shutdown_all(
        self, ladder: LadderOf = "gentle", *, deadline: float | None = None
    ) -> tuple[ShutdownReport, ...]:
        """Ends all trees in parallel, as :meth:`shutdown` does. Returns the reports in the order in which they ended.

        ``ladder`` is one ladder for every child, or a function that is called with each child and returns its ladder. A
        parent's turn comes once the trees of its children have been shut down. ``deadline``, in seconds, applies to the
        whole call. A child gets an even share of the remaining time: it is divided by the number of trees in the line
        from this child up to its topmost parent. So a stubborn child cannot use up the time in which its parent is
        asked.

        Children that are spawned meanwhile are shut down too. Errors are raised after all trees had their turn. If this
        call is cancelled, it ends all trees by force before it raises.
        """
        from .shutdown.together import shutdown_trees

        return await shutdown_trees(self, ladder, deadline=deadline)
