"""What a child is given besides its parameters: things that are opened with a spawn and closed with the tree.

A seam. The manager knows when a child is started and when its tree is over; whoever provides something for children
knows what, and what it is good for.
"""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from .errors import ProcessEnded, invalid_argument
from .params import SpawnParams
from .shutdown.ladder import ShutdownReport, ShutdownStep
from .shutdown.together import LadderOf
from .telemetry.log import report
from .types import ChildHandle, ConnectionId, ProcessId

__all__ = ["NOTHING", "Owner", "Provider", "Provision", "Provisions", "WeakOwner"]


class Provision(ABC):
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


class WeakOwner:
    """A manager as its providers know it: the sockets that they listen to do not keep one that its user has dropped.

    In the place of one that is gone it answers that nothing is known, and everything has ended.
    """

    def __init__(self, owner: Owner) -> None:
        self._owner = weakref.ref(owner)

    async def attach_connection(self, pid: ProcessId, conn: ConnectionId) -> None:
        """See :class:`Owner`."""
        await self._alive().attach_connection(pid, conn)

    def detach_connection(self, conn: ConnectionId) -> None:
        """See :class:`Owner`."""
        owner = self._owner()
        if owner is not None:
            owner.detach_connection(conn)

    def has_member(self, pid: ProcessId, os_pid: int) -> bool:
        """See :class:`Owner`."""
        owner = self._owner()
        return owner is not None and owner.has_member(pid, os_pid)

    async def list_children(self) -> list[ChildHandle]:
        """See :class:`Owner`."""
        owner = self._owner()
        return [] if owner is None else await owner.list_children()

    async def shutdown(self, pid: ProcessId, ladder: Sequence[ShutdownStep]) -> ShutdownReport:
        """See :class:`Owner`."""
        return await self._alive().shutdown(pid, ladder)

    async def shutdown_all(self, ladder: LadderOf) -> tuple[ShutdownReport, ...]:
        """See :class:`Owner`."""
        owner = self._owner()
        return () if owner is None else await owner.shutdown_all(ladder)

    async def kill_tree(self, pid: ProcessId) -> None:
        """See :class:`Owner`."""
        owner = self._owner()
        if owner is not None:
            await owner.kill_tree(pid)

    def _alive(self) -> Owner:
        owner = self._owner()
        if owner is None:
            raise ProcessEnded("the manager was dropped, and its trees were ended")
        return owner


class Provider(Protocol):
    """Makes a provision for each child that asks for one."""

    def provide(self, owner: Owner, pid: ProcessId, params: SpawnParams) -> Provision | None:
        """What a child is given, before it is spawned. None: this one is given nothing.

        An error is raised to who spawns; then nothing was started.
        """


_NO_NAMES: frozenset[str] = frozenset()


class Provisions:
    """All that one child is given."""

    __slots__ = ("_each", "_tried", "without_env")

    def __init__(self, each: Sequence[Provision] = ()) -> None:
        self._each = each
        self._tried: Provision | None = None
        #: Names that are not inherited from this process's environment.
        self.without_env = frozenset(name for one in each for name in one.without_env) if each else _NO_NAMES

    @classmethod
    def made(cls, providers: Sequence[Provider], owner: Owner, pid: ProcessId, params: SpawnParams) -> Provisions:
        """What the providers have for a child. When one of them fails, what the others made is withdrawn."""
        each: list[Provision] = []
        try:
            for provider in providers:
                # Taken note of in the same step: an exception of a signal's handler may come before the next.
                each += () if (given := provider.provide(owner, pid, params)) is None else (given,)
            return cls(each) if each else NOTHING
        except BaseException:
            cls(each).withdraw()
            raise

    def added_to(self, params: SpawnParams) -> SpawnParams:
        """The parameters with what is given. The standard input can be given once, to who did not name another."""
        if not self._each:
            return params
        pass_fds, env, stdin = params.pass_fds, dict(params.env), params.stdin
        for each in self._each:
            pass_fds += tuple(each.pass_fds)
            env.update(each.env)
            if each.stdin is not None:
                if stdin != "null":
                    raise invalid_argument("stdin", "must be 'null': the child is given something else", params.program)
                stdin = each.stdin
        return msgspec.structs.replace(params, pass_fds=pass_fds, env=env, stdin=stdin)

    def started(self, child: ChildHandle) -> None:
        """See :meth:`Provision.started`."""
        for each in self._each:
            each.started(child)

    def withdraw(self) -> None:
        """See :meth:`Provision.withdraw`. Again is no error: what was withdrawn is not withdrawn again.

        An error of one is reported, and does not keep the others from being withdrawn. What is no error, but the
        interruption of a signal's handler, is raised, and the next call goes on from there.
        """
        while self._each:
            one = self._each[-1]
            again, self._tried = self._tried is one, one
            try:
                one.withdraw()
            except Exception as error:
                report(f"{type(one).__name__}.withdraw raised", error)
                if not again:
                    continue
            self._each = self._each[:-1]


#: What most children are given.
NOTHING = Provisions()
