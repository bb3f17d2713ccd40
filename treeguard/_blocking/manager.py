"""The manager of trees that are started and waited for without an event loop."""

from __future__ import annotations

import atexit
import os
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from .._core.containment.host import System, opened
from .._core.delivery import Delivery
from .._core.engine.engine import CoreTree
from .._core.handlers import SystemErrors
from .._core.inspection.single import signal_each
from .._core.inspection.tree import Inspection
from .._core.native import ASK, CoreError, Spec
from .._core.spec import ISOLATED_BY, Additions
from .._core.standby import Standby
from .._core.trees.record import TreeRecord
from .._core.trees.registry import TreeRegistry
from .._core.worker import Worker
from ..errors import NotOwner, ProcessEnded
from ..params import SpawnParams
from ..types import ContainmentName
from .short_lives import ShortLives
from .starting import start_elsewhere
from .system import INTERRUPT, Pump, PumpedSystem, Traffic

__all__ = ["BlockingManager", "own_manager", "replace_managers"]

#: How long, in seconds, a tree has to be empty after it was killed because its start was interrupted.
_UNDO_TIMEOUT = 5.0
#: How long the end of this process waits for its trees to be empty, in seconds.
_EXIT_TIMEOUT = 5.0
#: How many ended trees the registry keeps: nobody asks it for them, but an exception may interrupt the end of one.
_REMEMBERED = 8
#: What looks at a tree when its root has left something.
_USED_LATER = "treeguard._core.inspection.left"


class BlockingManager:
    """Owns trees, and starts and watches them from any thread. What happens is known to whoever waits.

    It lives as long as its process: leaving the process empties every tree. In a forked copy it is inert.
    """

    def __init__(
        self, containment: ContainmentName = "auto", system_of: Callable[[Pump], System] = PumpedSystem
    ) -> None:
        """Raises :class:`~treeguard.ContainmentUnavailable` where the mechanism is not to be had."""
        self._pump = Pump()
        self._system = system = system_of(self._pump)
        self._trees = TreeRegistry(remembered=_REMEMBERED)
        self._compiler = system.compiler()
        self._forker = Worker("treeguard-forker")
        self._closed = False
        standby = Standby(self._trees, system, _USED_LATER)
        try:
            #: What was achieved.
            self.containment = system.contain(containment)
            self._delivery = Delivery(self._trees, standby)
            self._engine, self._backend = opened(system, self.containment, self._delivery, None, self._pump.as_loop)
        except BaseException:
            standby.close()
            self._pump.close()
            raise
        self._delivery.engine, self._delivery.backend = self._engine, self._backend
        self._short = ShortLives(self._engine, self._pump)
        self._pump.mend = self._engine.mend
        standby.bind(self._pump.as_loop)

    @property
    def owned(self) -> bool:
        """Whether this process made it. A forked copy did not."""
        return self._engine.core.owned

    def check_owner(self) -> None:
        """Raises :class:`~treeguard.NotOwner` in a forked copy."""
        if not self._engine.core.owned:
            raise NotOwner("the tree belongs to the process that this one was forked from")

    def _check(self) -> None:
        self.check_owner()
        if self._closed:
            raise NotOwner("this process is about to end, and its trees have ended")

    # Starting.

    def new(self, params: SpawnParams) -> TreeRecord:
        """A tree that is not started yet. The caller notes it first, so that nothing can be lost."""
        self._check()
        with self._pump.lock:
            return self._trees.made(params)

    def start(self, record: TreeRecord, params: SpawnParams, additions: Additions) -> None:
        """Starts a new tree, and returns before its program runs: see :meth:`begin`.

        Raises :class:`~treeguard.SpawnError` if nothing was started, and :class:`~treeguard.ContainmentUnavailable` for
        limits or an isolation that the mechanism does not keep.
        """
        try:
            if params.limits is not None:
                self._system.check_limits(params.limits, self.containment)
            if params.isolation not in (None, "none"):
                self._system.check_isolation(self.containment, params.isolation)
            with self._pump.lock:
                self._trees.add(record)
                self._start(record, params, additions)
        except BaseException as error:
            self.undo(record, error)
            raise

    def run(self, record: TreeRecord, params: SpawnParams, until: float | None) -> bool:
        """Starts a new tree of plain parameters, whose caller waits for its end next. Waits for a moment itself.

        Returns whether the tree has run, and is gone. Raises what :meth:`start` does.
        """
        try:
            kind = None if self._starts_elsewhere() else self._short.kind(record)
            with self._pump.lock:
                self._trees.add(record)
                self._start(record, params, None, kind)
            return kind is not None and self._short.wait(record, until)
        except BaseException as error:
            self.undo(record, error)
            raise

    def _start(
        self, record: TreeRecord, params: SpawnParams, additions: Additions | None, kind: type[CoreTree] | None = None
    ) -> None:
        try:
            known = None if additions is not None else self._compiler.known(params, self._backend.placement)
            spec = known or self._compiled(record.tag, params, additions or Additions())
            if self._starts_elsewhere():
                start_elsewhere(self._forker, partial(self._engine.start, spec, record.tag))
                self._engine.spawned(record.tag)
            elif kind is None:
                self._engine.spawn(spec, record.tag)
            else:
                self._engine.start(spec, record.tag, kind)
        except CoreError as fault:
            raise record.start_error(fault.step, fault.errno, fault.detail) from None

    def _compiled(self, tag: int, params: SpawnParams, additions: Additions) -> Spec:
        additions.tag, additions.placement = tag, self._backend.placement
        additions.isolated = ISOLATED_BY[params.isolation or "none"]
        if params.limits is not None:
            self._backend.limit(params.limits, additions)
        return self._compiler.compile(params, additions)

    def _starts_elsewhere(self) -> bool:
        return self._backend.outlived and threading.get_native_id() != os.getpid()

    def begin(self, record: TreeRecord, until: float | None = None) -> bool:
        """Waits until the program of a tree runs, or until a time. Returns whether it does. Raises why it never will.

        If something interrupts that, the tree is ended.
        """
        try:
            if not self._pump.wait(lambda: record.started or record.empty or record.lost, until):
                return False
            if record.error is not None:
                raise record.error
            if not record.started:
                raise ProcessEnded("the tree was ended while it was being started")
            return True
        except BaseException as error:
            self.undo(record, error)
            raise

    def undo(self, record: TreeRecord, error: BaseException) -> None:
        """Ends what exists of a tree whose start has failed or was interrupted, at whatever point."""
        if self._engine.holds(record.tag) or record.lost:
            if not record.started:
                with self._pump.lock:
                    self._engine.spawned(record.tag)
            self.end(record, _UNDO_TIMEOUT)
            return
        self._short.tags.discard(record.tag)
        with self._pump.lock:
            self._delivery.discard(record, error)

    # While it lives.

    def wait(self, done: Callable[[], bool], until: float | None, traffic: Traffic | None = None) -> bool:
        """See :meth:`Pump.wait`."""
        self._check()
        return self._pump.wait(done, until, traffic)

    def wait_root(self, record: TreeRecord, until: float | None, traffic: Traffic | None = None) -> bool:
        """Waits until the root of a tree has ended, or until a time. Returns whether it has."""
        if record.exit is not None or record.empty:
            return True
        return self._wait(record, lambda: record.exit is not None or record.empty, until, traffic)

    def wait_empty(self, record: TreeRecord, until: float | None) -> bool:
        """Waits until nothing of a tree is left, or until a time. Returns whether nothing is."""
        if record.left:
            return True
        return self._wait(record, lambda: record.left, until)

    def _wait(
        self, record: TreeRecord, done: Callable[[], bool], until: float | None, traffic: Traffic | None = None
    ) -> bool:
        self._check()
        if record.tag in self._short.tags:
            self._short.join(record.tag)
        try:
            return self._pump.wait(done, until, traffic)
        finally:
            # A look (poll) is no wait.
            if record.loan is not None and until != 0 and not done():
                self.take_back(record)

    def take_back(self, record: TreeRecord | None) -> None:
        """Takes the terminal back from a tree that has it: a caller that waits no longer may use it itself."""
        if record is not None and record.loan is not None:
            record.loan.take_back()

    def interrupt(self, record: TreeRecord) -> None:
        """Passes Ctrl-C on, unless the terminal has sent it to the tree too, because that had been lent it."""
        if record.loan is None or not record.loan.heard_interrupt():
            with SystemErrors():
                self.signal(record, INTERRUPT)
        self.take_back(record)

    def signal(self, record: TreeRecord, number: int) -> None:
        """Signals the root's group, unless the tree is gone."""
        if record.left:
            return
        self._check()
        if record.tag in self._short.tags:
            self._short.join(record.tag)
        with self._pump.lock:
            self._engine.signal(record.tag, number)

    def signal_root(self, record: TreeRecord, number: int) -> None:
        """Signals the root alone, unless it has ended."""
        if record.left:
            return
        self._check()
        with self._pump.lock:
            leader = self._engine.leader_pid(record.tag)
        inspection = self.inspection(record)
        if record.exit is None and inspection is not None:
            parent = os.getpid() if leader == record.os_pid else leader
            inspection.members.signal_root(record.os_pid, parent, number)

    def signal_members(self, record: TreeRecord, number: int) -> None:
        """Signals every process of the tree."""
        inspection = self.inspection(record)
        if inspection is not None:
            signal_each(inspection.members, number)

    def kill(self, record: TreeRecord) -> None:
        """Orders that the tree be ended by force, unless it is gone."""
        if record.left:
            return
        self._check()
        with self._pump.lock:
            record.kill_requested = True
            self._engine.kill(record.tag)

    def terminate(self, record: TreeRecord) -> None:
        """Asks the tree to end: SIGTERM to the root's group, and to members that have left it. Stopped ones go on.

        On Windows the root's group alone can be asked. Raises :class:`~treeguard.errors.RequestNotDelivered` there.
        """
        if self.containment.mechanism == "job_object":
            self.signal(record, signal.SIGTERM | ASK)
            return
        inspection = self.inspection(record)
        with SystemErrors():
            self.signal(record, signal.SIGTERM | ASK)
        if inspection is not None:
            inspection.members.signal_outside({record.os_pid}, signal.SIGTERM, ask=True)

    def end(self, record: TreeRecord, seconds: float) -> bool:
        """Kills a tree and waits until it is empty, for so long. Returns whether it is.

        What interrupts this is raised when it is done.
        """
        until = time.monotonic() + seconds
        interrupted: BaseException | None = None
        empty: bool | None = None
        while empty is None:
            try:
                if not (record.left or record.lost or self._engine.holds(record.tag)):
                    self.undo(record, ProcessEnded("the tree was not started"))
                    empty = True
                else:
                    with SystemErrors():
                        self.kill(record)
                    empty = self.wait_empty(record, until)
            except NotOwner:
                return record.left
            except BaseException as error:
                if interrupted is not None:
                    raise
                interrupted = error
        if interrupted is not None:
            raise interrupted
        return empty

    def inspection(self, record: TreeRecord) -> Inspection | None:
        """A tree from within. None: nothing can be seen of it any more, or not yet."""
        if record.left:
            return None
        self._check()
        with self._pump.lock:
            tag = record.tag
            leader_pid = self._engine.leader_pid(tag)
            return self._backend.inspection(leader_pid, tag, self._engine) if leader_pid and record.started else None

    def mind(self) -> None:
        """From now on a thread watches the trees whenever nobody waits for one."""
        self._pump.mind()

    # Ending.

    def close(self) -> None:
        """Ends everything; called when the process ends."""
        if self._closed or not self._engine.core.owned:
            return
        self._closed = True
        self._pump.close()
        self._short.recall(time.monotonic() + _EXIT_TIMEOUT)
        with self._pump.lock:
            self._engine.abandon(_EXIT_TIMEOUT, self._delivery.bypass_now)
            self._delivery.close()
            self._backend.close()
            self._forker.close()
            self._trees.give_up()

    def forked(self) -> None:
        """In a forked copy: closes what is not the engine's, which has a hook of its own."""
        self._pump.forked()


_managers: dict[ContainmentName, BlockingManager] = {}
#: A handler of a signal may ask for a manager while its thread is making one.
_making = threading.RLock()


#: What has a manager for each mechanism.
Source = Callable[[ContainmentName], BlockingManager]

_replacement: Source | None = None


def replace_managers(source: Source | None) -> Source | None:
    """From now on :func:`own_manager` returns what ``source`` does: for tests. None ends that.

    Returns what was set before.
    """
    global _replacement
    before, _replacement = _replacement, source
    return before


def own_manager(containment: ContainmentName = "auto") -> BlockingManager:
    """The manager of this process for that mechanism, made at its first use."""
    if _replacement is not None:
        return _replacement(containment)
    manager = _managers.get(containment)
    if manager is None:
        with _making:
            made = _managers.get(containment) or BlockingManager(containment)
            manager = _managers.setdefault(containment, made)
            if manager is not made:
                made.close()
    return manager


def _close_all() -> None:
    while _managers:
        _, manager = _managers.popitem()
        manager.close()


def _after_fork() -> None:
    global _making  # noqa: PLW0603 - another thread may have held it at the fork
    _making = threading.RLock()
    inherited, of_original = list(_managers.values()), _managers
    _inherited.extend(inherited)
    of_original.clear()
    for manager in inherited:
        manager.forked()


#: What a forked copy inherits is kept: its destruction would be of use to nobody.
_inherited: list[Any] = []

atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
