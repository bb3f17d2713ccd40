"""The process manager of this machine."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import logging
import signal as _signal
import sys
import warnings
from collections import OrderedDict
from types import TracebackType
from typing import NoReturn

from . import _native
from ._native import Event, Fault, Spec
from .containment import Containment, check_name, choose
from .engine import Engine
from .errors import (
    ContainmentUnavailable,
    GuardLost,
    NotOwner,
    ProcessEnded,
    TreeNotEmpty,
    UnknownProcess,
    spawn_error,
)
from .ids import IdIssuer
from .lease import Lease
from .life import Life
from .manager import ProcessManager
from .mechanisms import Contained, contained_by, try_out
from .params import SpawnParams
from .spec import SpecCompiler
from .types import ChildHandle, ConnectionId, ProcessId, RootExit, TreeState
from .waiting import checked_timeout, uncancelled

__all__ = ["LocalProcessManager"]

_log = logging.getLogger("treeguard")

#: How many ended trees a manager can still tell the exit of.
_REMEMBERED = 1024
#: How long, in seconds, leaving a manager waits for its trees to become empty. SIGKILL takes milliseconds.
_LEAVE_PATIENCE = 30.0
#: The same for a manager that was never left, and blocks the garbage collector.
_ABANDON_PATIENCE = 2.0
_SALVAGE_PAUSE = 0.01


class LocalProcessManager(ProcessManager):
    """Owns trees of processes on this machine. An async context manager: leaving it empties every tree.

    ``containment`` is ``"auto"`` or a mechanism; one that this host cannot give raises
    :class:`~treeguard.ContainmentUnavailable` before anything is started.

    With ``lease``, in seconds, every tree is ended when the event loop did not come round for so long: because this
    process is stopped, or a callback hangs. Time in which the machine is suspended does not count. A lease needs a
    guard, so ``process_group`` has none.

    A manager works on the event loop that it is first used on, in any thread, and follows to another one when that has
    been closed. In a forked copy of the process it is inert.
    """

    def __init__(self, *, containment: str = "auto", lease: float | None = None) -> None:
        check_name(containment)
        if checked_timeout("lease", lease) == 0:
            raise ValueError("lease must be longer than 0 seconds")
        self._asked = containment
        self._lease = lease
        self._containment: Containment | None = None
        self._engine: Engine | None = None
        self._contained: Contained | None = None
        self._closed = False
        self._ids = IdIssuer()
        self._lives: dict[int, Life] = {}
        self._ended: OrderedDict[int, Life] = OrderedDict()
        self._connected: dict[ConnectionId, Life] = {}
        self._compiler = SpecCompiler()
        self._salvaging: set[asyncio.Task[None]] = set()

    @property
    def containment(self) -> Containment:
        """What was achieved. Found out by a trial of a millisecond or two, once."""
        if self._containment is None:
            self._containment = choose(self._asked, try_out)
        return self._containment

    async def __aenter__(self) -> LocalProcessManager:
        self._enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Empties every tree, as leaving the manager does. Nothing can be spawned after; ids are still answered for.

        Raises :class:`~treeguard.TreeNotEmpty` if a tree holds processes that cannot be killed.
        """
        if self._engine is None or self._engine.owned:
            await uncancelled(self._close())

    async def spawn_child(self, params: SpawnParams) -> ChildHandle:
        """See :meth:`ProcessManager.spawn_child`."""
        engine = self._enter()
        parent = self._parent(params.parent)
        spec = self._compiler.compile(params)
        pid, tag = self._ids.issue()
        life = self._lives[tag] = Life(pid, params, parent)
        try:
            await self._start(engine, life, tag, spec)
            await life.begin()
        except BaseException:
            if tag in self._lives:
                await uncancelled(self._end(life, tag))
            raise
        return life.handle

    async def attach_connection(self, pid: ProcessId, conn: ConnectionId) -> None:
        """See :meth:`ProcessManager.attach_connection`. A connection is bound to one child at a time."""
        self._enter_if_open()
        life = self._alive(pid)
        other = self._connected.get(conn, life)
        if other is not life:
            raise ValueError(f"connection {conn} is attached to {other.pid} already")
        self._disconnect(life)
        life.connection = conn
        self._connected[conn] = life

    async def list_children(self) -> list[ChildHandle]:
        """See :meth:`ProcessManager.list_children`."""
        self._enter_if_open()
        return [life.handle for life in self._lives.values() if life.started]

    async def terminate_tree(self, pid: ProcessId, force: bool = False) -> None:
        """See :meth:`ProcessManager.terminate_tree`. An error of one tree is raised after all had their turn."""
        if not force:
            await self.signal_tree(pid, _signal.SIGTERM)
            return
        self._enter_if_open()
        life = self._find(pid)
        if life is not None:
            self._kill(life)

    async def signal_tree(self, pid: ProcessId, number: int) -> None:
        """Sends a signal to the root's group, and to those of the children below, these first."""
        _signal.Signals(number)
        self._enter_if_open()
        life = self._find(pid)
        errors = []
        for each in [] if life is None else list(life.subtree()):
            try:
                if self._engine is not None:
                    self._engine.signal(self._tag(each), number)
            except OSError as e:
                errors.append(e)
        if errors:
            raise errors[0]

    async def wait_for_exit(self, pid: ProcessId, timeout: float | None = None) -> bool:
        """See :meth:`ProcessManager.wait_for_exit`; here True means *empty*, children's trees included.

        Raises :class:`~treeguard.GuardLost` when that cannot be proved because the guard died, and
        :class:`~treeguard.TreeNotEmpty` when the manager was closed before.
        """
        checked_timeout("timeout", timeout)
        self._enter_if_open()
        life = self._find(pid)
        if life is None:
            life = self._ended.get(self._known(pid))
        elif not await life.until(lambda: life.settled, timeout):
            return False
        if life is not None and life.unproved:
            if life.lost:
                raise GuardLost(f"the guard of {pid} died; what was found of its tree was ended")
            raise TreeNotEmpty(f"{pid} was not empty when its manager was closed")
        return True

    async def wait_for_root(self, pid: ProcessId, timeout: float | None = None) -> RootExit | None:
        """Waits until the root has ended, whatever is left of its tree. None: not in time, or that is too long ago.

        The exits of the last 1,024 ended trees are remembered.
        """
        checked_timeout("timeout", timeout)
        self._enter_if_open()
        life = self._find(pid)
        if life is None:
            life = self._ended.get(self._known(pid))
            return None if life is None else life.exit
        await life.until(lambda: life.exit is not None or life.empty, timeout)
        return life.exit

    async def wait_for_change(self, pid: ProcessId, seen: TreeState | None = None) -> TreeState:
        """Waits until a tree's state is another than the one ``seen`` last."""
        self._enter_if_open()
        life = self._find(pid) or self._ended.get(self._known(pid))
        if life is None:
            return TreeState(0, empty=True)
        while (state := life.state) == seen and not life.empty:
            await life.changed()
        return state

    # Which tree is meant, and on which loop.

    def _enter(self) -> Engine:
        if self._closed:
            raise NotOwner("the manager has been closed")
        if self._engine is None or self._contained is None:
            self._engine, self._contained = self._opened()
        engine = self._engine
        if not engine.owned:
            raise NotOwner("the manager belongs to the process that this one was forked from")
        loop = asyncio.get_running_loop()
        if engine.loop is None:
            engine.bind(loop)
        elif engine.loop is not loop:
            raise NotOwner("the manager is in use on another event loop")
        return engine

    def _opened(self) -> tuple[Engine, Contained]:
        mechanism = self.containment.mechanism
        if self._lease is not None and mechanism == "process_group":
            raise ContainmentUnavailable("a lease needs a guard, which containment 'process_group' has none of")
        try:
            lease = None if self._lease is None else Lease(self._lease)
        except OSError as error:
            raise spawn_error("lease", error.errno or errno.EIO, None) from error
        try:
            engine = Engine(self._deliver, lease)
        except Fault as fault:
            if lease is not None:
                lease.close()
            raise spawn_error(fault.step, fault.errno, None) from None
        try:
            return engine, contained_by(mechanism)
        except OSError as error:
            engine.close()
            raise ContainmentUnavailable(f"containment {mechanism!r} is not available any more: {error}") from error

    def _enter_if_open(self) -> None:
        if not self._closed and self._engine is not None:
            self._enter().pump()

    def _known(self, pid: ProcessId) -> int:
        tag = self._ids.issued(pid)
        if tag is None:
            raise UnknownProcess(f"{pid!r} was not issued by this manager")
        return tag

    def _find(self, pid: ProcessId) -> Life | None:
        life = self._lives.get(self._ids.number(pid))
        if life is not None and life.pid == pid:
            return life
        self._known(pid)
        return None

    def _alive(self, pid: ProcessId) -> Life:
        life = self._find(pid)
        if life is None or life.doomed:
            raise ProcessEnded(f"{pid} has ended")
        return life

    def _parent(self, pid: ProcessId | None) -> Life | None:
        return None if pid is None else self._alive(pid)

    def _tag(self, life: Life) -> int:
        return self._ids.number(life.pid)

    # Down: starting and ending.

    async def _start(self, engine: Engine, life: Life, tag: int, spec: Spec) -> None:
        assert self._contained is not None
        try:
            await self._contained.spawn(engine, spec, tag)
        except Fault as fault:
            life.fail(spawn_error(fault.step, fault.errno, life.program))
            self._settle(life, tag)
            return
        except asyncio.CancelledError:
            # The spawn was finished first. If it failed, no event will ever tell that there is no tree.
            if not engine.holds(tag):
                life.fail(ProcessEnded("the spawn was cancelled, and failed"))
                self._settle(life, tag)
            raise
        engine.spawned(tag)
        if life.doomed:
            engine.kill(tag)

    def _kill(self, life: Life) -> None:
        """Children first; marked before the first blow, so that none can be added to the subtree meanwhile."""
        lives = list(life.subtree())
        errors = []
        for each in lives:
            each.doomed = True
        for each in lives:
            try:
                if self._engine is not None:
                    self._engine.kill(self._tag(each))
            except OSError as e:
                errors.append(e)
        if errors:
            raise errors[0]

    def _kill_if_possible(self, life: Life) -> None:
        """What refuses to be killed is seen by its not becoming empty."""
        with contextlib.suppress(OSError):
            self._kill(life)

    async def _end(self, life: Life, tag: int) -> None:
        self._kill_if_possible(life)
        while tag in self._lives:
            await life.changed()

    async def _close(self) -> None:
        if self._closed:
            return
        self._closed = True
        engine = self._engine
        if engine is None:
            return
        if engine.loop is None:
            engine.bind(asyncio.get_running_loop())
        for life in list(self._lives.values()):
            self._kill_if_possible(life)
        deadline = asyncio.get_running_loop().time() + _LEAVE_PATIENCE
        while self._lives and (left := deadline - asyncio.get_running_loop().time()) > 0:
            tag, life = next(iter(self._lives.items()))
            await life.until(functools.partial(lambda tag: tag not in self._lives, tag), left)
        self._release(engine)
        if self._lives:
            self._give_up()

    def _give_up(self) -> NoReturn:
        survivors = ", ".join(f"{life.pid} (root {life.os_pid})" for life in self._lives.values())
        for life in self._lives.values():
            life.give_up(proved=False)
        self._ended.update(self._lives)
        self._lives.clear()
        raise TreeNotEmpty(f"not empty after {_LEAVE_PATIENCE:g} s: {survivors}")

    def _release(self, engine: Engine) -> None:
        engine.close()
        if self._contained is not None:
            self._contained.close()

    # Up: what events do.

    def _deliver(self, event: Event) -> None:
        life = self._lives.get(event.tag)
        if life is None:
            return
        life.apply(event)
        if event.kind == _native.LOST:
            self._salvage(life, event.tag)
        elif life.settled:
            self._settle(life, event.tag)

    def _disconnect(self, life: Life) -> None:
        if life.connection is not None:
            del self._connected[life.connection]
            life.connection = None

    def _settle(self, life: Life, tag: int) -> None:
        self._disconnect(life)
        del self._lives[tag]
        self._ended[tag] = life
        if len(self._ended) > _REMEMBERED:
            self._ended.popitem(last=False)
        parent = life.leave()
        if parent is not None:
            self._settle(parent, self._tag(parent))

    def _salvage(self, life: Life, tag: int) -> None:
        _log.error("the guard of %s died; its tree is ended as far as it can be found", life.pid)
        task = asyncio.ensure_future(self._end_remains(life, tag))
        self._salvaging.add(task)
        task.add_done_callback(self._salvaging.discard)

    async def _end_remains(self, life: Life, tag: int) -> None:
        assert self._contained is not None
        remains = self._contained.remains(life.os_pid, tag)
        while remains.kill():  # noqa: ASYNC110 - nothing tells when they are gone
            await asyncio.sleep(_SALVAGE_PAUSE)
        life.give_up(proved=remains.provable)
        if life.settled:
            self._settle(life, tag)

    def __del__(self) -> None:
        engine = getattr(self, "_engine", None)
        if engine is None or self._closed or not engine.owned:
            return
        warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)
        if not sys.is_finalizing():
            engine.abandon(_ABANDON_PATIENCE)
            self._release(engine)
