"""What a child is given besides its parameters: adding it to them, reporting the start, withdrawing it at the end."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import ProcessEnded, invalid_argument
from ..types import ChildHandle, ConnectionId, ProcessId
from .telemetry.log import report
from .validation import items, wrong_type

if TYPE_CHECKING:
    from ..ext import ChildResource, Owner, SpawnHook
    from ..local import LocalProcessManager
    from ..params import SpawnParams
    from ..shutdown.ladder import ShutdownReport, ShutdownStep
    from ..shutdown.together import LadderOf
    from .spec import Additions

__all__ = ["ChildResources", "WeakOwner", "checked_hooks"]


class WeakOwner:
    """A weak reference to a manager for its providers, whose open sockets must not keep a dropped manager alive.

    Once the manager is gone, it answers that nothing is known and everything has ended.
    """

    def __init__(self, owner: LocalProcessManager) -> None:
        self._owner = weakref.ref(owner)

    async def attach_connection(self, pid: ProcessId, conn: ConnectionId) -> None:
        """See :class:`Owner`."""
        await self._alive().attach_connection(pid, conn)

    def detach_connection(self, conn: ConnectionId) -> None:
        """See :class:`Owner`."""
        owner = self._owner()
        if owner is not None:
            owner._detach_connection(conn)

    def has_member(self, pid: ProcessId, os_pid: int) -> bool:
        """See :class:`Owner`."""
        owner = self._owner()
        return owner is not None and owner._has_member(pid, os_pid)

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

    def _alive(self) -> LocalProcessManager:
        owner = self._owner()
        if owner is None:
            raise ProcessEnded("the manager was dropped, and its trees were ended")
        return owner


def checked_hooks(hooks: object) -> tuple[SpawnHook, ...]:
    """The hooks of a manager. Raises TypeError that names the argument."""
    checked = items("providers", hooks, "a sequence of SpawnHook")
    for hook in checked:
        if not callable(getattr(hook, "provide", None)):
            raise wrong_type("providers", "a sequence of SpawnHook", hook)
    return checked


class ChildResources:
    """Everything that one child is given."""

    __slots__ = ("_each", "_tried")

    def __init__(self, each: Sequence[ChildResource]) -> None:
        self._each = each
        self._tried: ChildResource | None = None

    @classmethod
    def made(
        cls, providers: Sequence[SpawnHook], owner: Owner, pid: ProcessId, params: SpawnParams
    ) -> ChildResources | None:
        """The resources that the providers have for a child. If one provider fails, the others' are withdrawn."""
        each: list[ChildResource] = []
        try:
            for provider in providers:
                # Store it in the same step: an exception of a signal handler may come before the next one.
                each += () if (given := provider.provide(owner, pid, params)) is None else (given,)
            return cls(each) if each else None
        except BaseException:
            cls(each).withdraw()
            raise

    def add_to(self, additions: Additions) -> None:
        """Adds the resources to what a child gets. Only one of them can be its standard input."""
        for each in self._each:
            additions.pass_fds += tuple(each.pass_fds)
            additions.env = {**additions.env, **each.env}
            additions.without_env |= frozenset(each.without_env)
            if each.stdin is not None:
                if additions.stdin is not None:
                    raise invalid_argument("stdin", "must be 'null': the child is given something else", None)
                additions.stdin = each.stdin

    def started(self, child: ChildHandle) -> None:
        """See :meth:`ChildResource.started`."""
        for each in self._each:
            each.started(child)

    def withdraw(self) -> None:
        """See :meth:`ChildResource.withdraw`. Calling it again withdraws only what is still left.

        An error of one resource is reported, and does not keep the others from being withdrawn. An exception that is
        not an error, such as one from a signal handler, is raised; the next call goes on from there.
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
