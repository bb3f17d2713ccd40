"""The interface for giving children more than their parameters: resources opened with a spawn and closed with the tree.

The manager knows when a child starts and when its tree has ended. The provider knows which resource the child gets and
what the resource does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from .types import ChildHandle, ConnectionId, ProcessId

if TYPE_CHECKING:
    from .params import SpawnParams
    from .shutdown.ladder import ShutdownReport, ShutdownStep
    from .shutdown.together import LadderOf

__all__ = ["ChildResource", "Owner", "SpawnHook"]


class ChildResource(ABC):
    """One resource that is given to one child.

    Its attributes are read once, before the spawn. The manager makes all calls on its event loop. They must not block.
    """

    #: Descriptors that the child inherits, under the same numbers.
    pass_fds: Sequence[int] = ()
    #: Variables that are added to the child's environment. They take precedence over those of the parameters.
    env: Mapping[str, str] = {}
    #: Variables that the child does not inherit from this process's environment. The parameters may still set them.
    without_env: Sequence[str] = ()
    #: The child's standard input, if the parameters leave it at the null device. None: the parameters decide.
    stdin: int | None = None

    def started(self, child: ChildHandle) -> None:  # noqa: B027 - most resources need no more
        """The root runs, and has its own copies of the descriptors.

        The manager calls this once. It does not call it if the spawn fails or is cancelled, or if the tree has already
        ended. Data from the child may arrive earlier. An error ends the tree, and is raised to the caller of the spawn.
        """

    @abstractmethod
    def withdraw(self) -> None:
        """Closes everything. Either the spawn failed, or nothing is left of the tree and of the trees below it.

        The manager calls this once. It calls it a second and last time if the first call was interrupted by an
        exception, which a signal handler may raise anywhere. The method itself must not raise. If a manager is
        garbage-collected without having been left, the call comes without an event loop, and the owner no longer knows
        any process.
        """


class Owner(Protocol):
    """The part of a process manager that a provider may use."""

    async def attach_connection(self, pid: ProcessId, conn: ConnectionId) -> None:
        """See :meth:`ProcessManager.attach_connection`."""

    def detach_connection(self, conn: ConnectionId) -> None:
        """Detaches a connection that has ended. The call has no effect if the connection is not attached."""

    def has_member(self, pid: ProcessId, os_pid: int) -> bool:
        """Returns whether the process with this number is alive and belongs to the tree."""
        ...

    async def list_children(self) -> list[ChildHandle]:
        """See :meth:`ProcessManager.list_children`."""
        ...

    async def shutdown(self, pid: ProcessId, ladder: Sequence[ShutdownStep]) -> ShutdownReport:
        """See :meth:`ProcessManager.shutdown`."""
        ...

    async def shutdown_all(self, ladder: LadderOf) -> tuple[ShutdownReport, ...]:
        """See :meth:`ProcessManager.shutdown_all`."""
        ...

    async def kill_tree(self, pid: ProcessId) -> None:
        """See :meth:`ProcessManager.kill_tree`."""


class SpawnHook(Protocol):
    """Provides a resource for each child that needs one."""

    def provide(self, owner: Owner, pid: ProcessId, params: SpawnParams) -> ChildResource | None:
        """Returns the resource for a child before the spawn, or None if this child gets none.

        An error is raised to the caller of the spawn. Nothing has been started then.
        """
