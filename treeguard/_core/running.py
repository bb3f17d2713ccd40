"""A manager at work: the engine and the backend that it opened, and what is done with its trees."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

from ..errors import NotOwner
from ..params import SpawnParams
from .containment.guarantees import Containment
from .containment.host import System, opened
from .delivery import Delivery
from .native import CoreError
from .spec import Additions
from .standby import Standby
from .trees.record import TreeRecord
from .trees.registry import TreeRegistry
from .waiting import aside, run_to_completion

if TYPE_CHECKING:
    from .inspection.freezer import Freezer
    from .inspection.tree import Inspection

__all__ = ["LEAVE_TIMEOUT", "Running"]

#: How long, in seconds, leaving a manager waits for its trees to become empty. SIGKILL takes milliseconds.
LEAVE_TIMEOUT = 30.0
#: The same for a manager that was never left, and blocks the garbage collector.
_ABANDON_TIMEOUT = 2.0


class Running:
    """What a manager has from its first use until it has been left.

    It works on the event loop that it was opened on, and follows to another one when that has been closed. In a forked
    copy of the process it is inert.
    """

    def __init__(
        self,
        system: System,
        containment: Containment,
        trees: TreeRegistry,
        lease: float | None,
        used_later: str,
    ) -> None:
        """Opens everything on the running loop, or raises and leaves nothing open.

        ``used_later`` names a module that a manager in use should have loaded.
        """
        self._trees = trees
        self._contains_escapees = containment.contains_escapees
        self._compiler = system.compiler()
        self._leave_by: float | None = None
        self._survivors: str | None = None
        #: Whether it has been left, and everything is closed.
        self.left = False
        loop = asyncio.get_running_loop()
        self._standby = Standby(trees, system, used_later)
        self._delivery = Delivery(trees, self._standby)
        try:
            self.engine, self._backend = opened(system, containment, self._delivery, lease, loop)
        except BaseException:
            self._standby.close()
            raise
        self._delivery.engine, self._delivery.backend = self.engine, self._backend
        self._standby.bind(loop)

    @property
    def owned(self) -> bool:
        """Whether this process opened it. A forked copy did not."""
        return self.engine.core.owned

    def enter(self) -> None:
        """Binds it to the running loop. Raises :class:`~treeguard.errors.NotOwner` where it may not be used."""
        if not self.engine.core.owned:
            raise NotOwner("the manager belongs to the process that this one was forked from")
        loop = asyncio.get_running_loop()
        if self.engine.bound is loop:
            return
        if self.engine.loop is not None:
            raise NotOwner("the manager is in use on another event loop")
        self._bind(loop)

    def may_leave(self) -> bool:
        """Whether there is anything to leave. Raises :class:`~treeguard.errors.NotOwner` while another loop runs it."""
        if self.left or not self.owned:
            return False
        other = self.engine.loop
        if other is not None and other is not asyncio.get_running_loop() and other.is_running():
            raise NotOwner("the manager is in use on another event loop")
        return True

    def process_events(self) -> None:
        """Delivers what has happened by now."""
        self.engine.process_events()

    def _bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Works on this loop from now on, and resumes what the end of the previous loop interrupted."""
        self.engine.bind(loop)
        self._standby.bind(loop)
        self._delivery.resume()

    # Starting.

    async def start(self, record: TreeRecord, params: SpawnParams, additions: Additions) -> None:
        """Starts a tree with what is added to its parameters. Raises :class:`~treeguard.SpawnError` if nothing was.

        Everything that a child gets is compiled here, once.
        """
        backend, engine, tag = self._backend, self.engine, record.tag
        additions.tag, additions.placement = tag, backend.placement
        try:
            if params.limits is not None:
                backend.limit(params.limits, additions)
            if params.user is not None or params.group is not None or params.extra_groups:
                additions.accounts = await self._compiler.look_up(params)
            if params.pty or "pipe" in (params.stdin, params.stdout, params.stderr):
                params = record.connected(params, additions)
            spec = self._compiler.compile(params, additions)
            if spec.terminal >= 0:
                from .lending import lend_from_start

                lend_from_start(record, engine)
            if backend.outlived and threading.get_native_id() != os.getpid():
                await backend.elsewhere(partial(engine.start, spec, tag))
                engine.spawned(tag)
            else:
                engine.spawn(spec, tag)
        except CoreError as fault:
            raise record.start_error(fault.step, fault.errno, fault.detail) from None
        if record.kill_requested:
            engine.kill(tag)

    async def undo(self, record: TreeRecord, error: BaseException) -> None:
        """Ends what exists of a tree whose spawn failed or was interrupted, at whatever point."""
        try:
            if self.engine.holds(record.tag) or record.lost:
                await run_to_completion(self._end(record))
            else:
                self._delivery.discard(record, error)
        finally:
            record.close_streams()

    async def _end(self, record: TreeRecord) -> None:
        if not record.started:
            self.engine.spawned(record.tag)
        pipes = () if record.streams is None else record.streams.identities
        self.kill_if_possible(record)
        await record.settled(None)
        if pipes and not self._contains_escapees:
            from .inspection.holders import end_all_holders

            await end_all_holders(pipes)

    # While it lives.

    def kill(self, record: TreeRecord) -> None:
        """Kills children first. All are marked before the first kill, so that no child is added meanwhile."""
        records = list(record.subtree())
        errors = []
        for each in records:
            each.kill_requested = True
        for each in records:
            try:
                self.engine.kill(each.tag)
            except OSError as e:
                errors.append(e)
        if errors:
            raise errors[0]

    def kill_if_possible(self, record: TreeRecord) -> None:
        """Kills. A tree that refuses to be killed is seen by its not becoming empty."""
        with contextlib.suppress(OSError):
            self.kill(record)

    def inspection(self, record: TreeRecord | None) -> Inspection | None:
        """A tree from within. None: nothing can be seen of it any more, or not yet."""
        leader_pid = 0 if record is None else self.engine.leader_pid(record.tag)
        if record is None or not leader_pid or not record.started:
            return None
        if record.inspection is None:
            record.inspection = self._backend.inspection(leader_pid, record.tag, self.engine)
        return record.inspection

    async def freeze(self, record: TreeRecord, timeout: float | None) -> None:
        """Freezes a tree and those below it. Raises :class:`~treeguard.errors.TreeNotFrozen`."""
        from .inspection.freezer import freeze

        await freeze(self._freezers(record), timeout)

    async def thaw(self, record: TreeRecord) -> None:
        """Lets a tree and those below it go on."""
        from .inspection.freezer import thaw

        await thaw(self._freezers(record))

    def _freezers(self, record: TreeRecord) -> list[Freezer]:
        """What freezes a tree and those below it, parents first."""
        inspections = [self.inspection(each) for each in record.subtree()]
        return [each.freezer for each in reversed(inspections) if each is not None]

    # Leaving.

    async def leave(self) -> str | None:
        """Ends everything. Returns what survived, if anything. It resumes where an exception interrupted it."""
        if self.left:
            return None
        loop = asyncio.get_running_loop()
        if self._survivors is None:
            if self.engine.loop is not loop:
                self._bind(loop)
            if self._leave_by is None:
                self._leave_by = time.monotonic() + LEAVE_TIMEOUT
            self.engine.mend()
            for record in self._trees:
                self.kill_if_possible(record)
            for record in self._trees:
                await record.settled(self._leave_by - time.monotonic())
            self._survivors = "; ".join([await self.described(record) for record in self._trees])
        self._release()
        return f"not empty after {LEAVE_TIMEOUT:g} s: {self._survivors}" if self._survivors else None

    async def described(self, record: TreeRecord) -> str:
        """A tree that is not empty, and the processes that are left of it."""
        left = ""
        with contextlib.suppress(OSError, ImportError, RuntimeError):  # too few descriptors, no thread
            from .inspection.survivors import described

            inspection = self.inspection(record)
            if inspection is not None:
                left = await aside(partial(described, inspection.members))
        return f"{record.pid} (root {record.os_pid})" + (f": {left}" if left else "")

    def abandon(self) -> None:
        """Ends everything without a loop, and blocks for it: for a manager that is collected without being left."""
        self.engine.abandon(_ABANDON_TIMEOUT, self._delivery.bypass_now)
        self._release()

    def _release(self) -> None:
        self.engine.close()
        self._delivery.close()
        self._backend.close()
        self._trees.give_up()
        self.left = True

    def __del__(self) -> None:
        engine = getattr(self, "engine", None)
        if engine is not None and not self.left and engine.core.owned and not sys.is_finalizing():
            self.abandon()
