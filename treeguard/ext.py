"""What a child is given besides its parameters: things that are opened with a spawn and closed with the tree.

A seam. The manager knows when a child is started and when its tree is over; whoever provides something for children
knows what, and what it is good for.
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
    """One thing that one child is given.

    Its attributes are read once, before the spawn. All calls come on the manager's event loop, and may not block.
    """

    #: Descriptors that the child inherits, under the same numbers.
    pass_fds: Sequence[int] = ()
    #: Added to the child's environment. It comes before what the parameters say.
    env: Mapping[str, str] = {}
    #: Names that are not inherited from this process's environment; they are not taken out of the parameters' own.
    without_env: Sequence[str] = ()
    #: The child's standard input, where the parameters leave it the null device. None: as the parameters say.
    stdin: int | None = None

    def started(self, child: ChildHandle) -> None:  # noqa: B027 - most that is given needs no more
        """The root runs; the child's copies of the descriptors are its own.

        Comes once, or never: when the spawn fails or is cancelled, or the tree is over already. What the child sends
        may arrive before. An error ends the tree, and is raised to who spawned it.
        """

    @abstractmethod
    def withdraw(self) -> None:
        """Closes everything. The spawn failed, or nothing is left of the tree and of its children's.

        Comes once; again, if an exception came out of it (a signal's handler raises anywhere), and then never more. It
        may not raise by itself. In a manager that is collected without having been left this comes without an event
        loop, and whoever is the owner answers that it knows nothing.
        """


class Owner(Protocol):
    """The part of a process manager that a provider may use."""

    async def attach_connection(self, pid: ProcessId, conn: ConnectionId) -> None:
        """See :meth:`ProcessManager.attach_connection`."""

    def detach_connection(self, conn: ConnectionId) -> None:
        """A connection has ended. One that is not attached is no error."""

    def has_member(self, pid: ProcessId, os_pid: int) -> bool:
        """Whether the process of that number lives and is of this tree."""
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
    """Makes a provision for each child that asks for one."""

    def provide(self, owner: Owner, pid: ProcessId, params: SpawnParams) -> ChildResource | None:
        """What a child is given, before it is spawned. None: this one is given nothing.

        An error is raised to who spawns; then nothing was started.
        """
