"""The process manager of this machine."""

from __future__ import annotations

import asyncio
import contextlib
import signal as _signal
import sys
import time
import warnings
from collections.abc import Collection, Sequence
from functools import partial
from types import TracebackType

import msgspec

from . import _native
from ._native import Fault, Spec
from .containment.claims import Containment, check_guarantees, check_limits, check_name
from .containment.contained import Contained
from .containment.system import System, opened
from .control import ControlServer
from .delivery import Delivery
from .engine.engine import Engine
from .errors import GuardLost, NotOwner, ProcessEnded, TreeNotEmpty, spawn_error
from .inside import freezer
from .inside.freezer import Freezer
from .inside.survivors import described
from .inside.tree import Inside
from .manager import ProcessManager
from .notify.listener import Notifications, NotifyStatus, OnHung
from .params import Isolation, SpawnParams, check_isolation_name
from .provision import Provider, Provisions, WeakOwner
from .trees.life import Life
from .trees.register import Trees
from .types import ChildHandle, ConnectionId, ProcessId, RootExit, TreeState, TreeStats
from .waiting import Finish, aside, checked_timeout, uncancelled

__all__ = ["LocalProcessManager"]

#: How long, in seconds, leaving a manager waits for its trees to become empty. SIGKILL takes milliseconds.
_LEAVE_PATIENCE = 30.0
#: The same for a manager that was never left, and blocks the garbage collector.
_ABANDON_PATIENCE = 2.0
#: What has become of a tree whose guard died.
_FOUND_BY_MARK = (
    "its root, its group, its cgroup and all that carries its mark were ended, but a process that left them and "
    "cleared its environment may live on"
)
_FOUND_WITHOUT = (
    "its root, its group and its cgroup were ended, but a process that left them may live on: its environment was "
    "given whole, without a mark"
)


class LocalProcessManager(ProcessManager):
    """Owns trees of processes on this machine. An async context manager: leaving it empties every tree.

    ``containment`` is ``"auto"`` or a mechanism; one that this host cannot give raises
    :class:`~treeguard.ContainmentUnavailable` before anything is started. So does a mechanism that lacks a guarantee of
    ``require``: names of booleans of :class:`~treeguard.Containment`, as in ``require=("contains_escapees",)``. Without
    it ``"auto"`` may settle for a mechanism that lets escapees go, and gives a :class:`~treeguard.ContainmentWarning`.
    A guard that cannot be executed is a :class:`~treeguard.BrokenInstall`, whatever the host could give.

    With ``lease``, in seconds, every tree is ended when the event loop did not come round for so long: because this
    process is stopped, or a callback hangs. Time in which the machine is suspended does not count. A lease needs a
    guard, so ``process_group`` and ``job_object`` have none.

    ``isolation="signals"`` keeps children, unless their parameters say otherwise, from signalling and tracing their
    guards and this process: see :class:`~treeguard.SpawnParams`. Where it is not to be had, that raises
    :class:`~treeguard.ContainmentUnavailable` before anything is started.

    ``control`` serves the children that are spawned with ``control``; one with no services is made where none is given.
    ``on_hung`` is called with a child whose watchdog fell silent (``SpawnParams.watchdog``), before its tree is killed.
    Each of ``providers`` is asked what it has for a child that is spawned: see :class:`~treeguard.Provision`.

    A manager works on the event loop that it is first used on, in any thread, and follows to another one when that has
    been closed. In a forked copy of the process it is inert.
    """

    def __init__(
        self,
        *,
        containment: str = "auto",
        require: Collection[str] = (),
        lease: float | None = None,
        isolation: Isolation | None = None,
        control: ControlServer | None = None,
        on_hung: OnHung | None = None,
        providers: Sequence[Provider] = (),
        system: System | None = None,
    ) -> None:
        """``system`` stands in the place of this one, for tests without processes."""
        check_name(containment)
        check_guarantees(require)
        check_isolation_name(isolation)
        if checked_timeout("lease", lease) == 0:
            raise ValueError("lease must be longer than 0 seconds")
        self._asked = containment
        self._required = tuple(require)
        self._lease = lease
        self._isolation: Isolation = isolation or "none"
        self.control = ControlServer() if control is None else control
        self._notifications = Notifications(on_hung)
        self._providers: Sequence[Provider] = (self.control, self._notifications, *providers)
        self._system = system or System()
        self._containment: Containment | None = None
        self._engine: Engine | None = None
        self._contained: Contained | None = None
        self._closed = self._left = False
        self._leave_by: float | None = None
        self._survivors: str | None = None
        self._finish: Finish[str | None] = Finish()
        self._trees = Trees()
        self._compiler = self._system.compiler()
        self._delivery = Delivery(self._trees, self._system.search())
        self._owner = WeakOwner(self)

    @property
    def containment(self) -> Containment:
        """What was achieved. Found out by a trial of a millisecond or two, once."""
        if self._containment is None:
            containment = self._system.contain(self._asked, self._required)
            if self._isolation != "none":
                self._system.check_isolation(containment)
                containment = msgspec.structs.replace(containment, isolation=self._isolation)
            self._containment = containment
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

        Whatever is cancelled meanwhile, and whoever else leaves it too, this returns when it is done. Raises
        :class:`~treeguard.TreeNotEmpty` if a tree holds processes that cannot be killed, to each who was waiting then.
        """
        if self._left or not (self._engine is None or self._engine.owned):
            return
        other = None if self._engine is None else self._engine.loop
        if other is not None and other is not asyncio.get_running_loop() and other.is_running():
            raise NotOwner("the manager is in use on another event loop")
        survivors = await self._finish(self._leave)
        if survivors:
            raise TreeNotEmpty(survivors)

    async def spawn_child(self, params: SpawnParams) -> ChildHandle:
        """See :meth:`ProcessManager.spawn_child`."""
        engine = self._enter()
        check_limits(params.limits, self.containment)
        isolated = (params.isolation or self._isolation) == "signals"
        if isolated:
            self._system.check_isolation(self.containment)
        life, tag = self._trees.made(params)
        try:
            self._trees.add(life, tag)
            life.given = Provisions.made(self._providers, self._owner, life.pid, params)
            spec = self._compiler.compile(life.given.added_to(params), life.given.without_env)
            if isolated:
                # Who shares a terminal with this process can have the kernel stop its group (SIGTTIN).
                apart = spec.terminal < 0 if params.new_session is None else params.new_session
                spec = msgspec.structs.replace(spec, isolated=True, new_session=apart)
            await self._start(engine, life, tag, spec)
            await life.begin()
            life.given.started(handle := life.handle)
            return handle
        except BaseException as error:
            await self._undo(engine, life, tag, error)
            raise

    async def attach_connection(self, pid: ProcessId, conn: ConnectionId) -> None:
        """See :meth:`ProcessManager.attach_connection`. A connection is bound to one child at a time."""
        self._enter_if_open()
        self._trees.connect(pid, conn)

    def detach_connection(self, conn: ConnectionId) -> None:
        """A connection has ended. One that is not attached is no error."""
        self._trees.disconnect(conn)

    async def list_children(self) -> list[ChildHandle]:
        """See :meth:`ProcessManager.list_children`."""
        self._enter_if_open()
        return [life.handle for life in self._trees if life.started]

    async def terminate_tree(self, pid: ProcessId, force: bool = False) -> None:
        """See :meth:`ProcessManager.terminate_tree`. An error of one tree is raised after all had their turn."""
        if not force:
            await self.signal_tree(pid, _signal.SIGTERM)
            return
        self._enter_if_open()
        life = self._trees.living(pid)
        if life is not None:
            self._kill(life)

    async def signal_tree(self, pid: ProcessId, number: int) -> None:
        """Sends a signal to the root's group, and to those of the children below, these first.

        ``number`` is any that a process can be sent, the real-time signals of POSIX included. Raises ValueError for
        what is none; so is 0, by which nobody would be sent anything.
        """
        number = _checked_signal(number)
        self._enter_if_open()
        life = self._trees.living(pid)
        errors = []
        for each in [] if life is None else list(life.subtree()):
            try:
                if self._engine is not None:
                    self._engine.signal(self._trees.tag(each), number)
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
        self._enter_if_open(look=timeout == 0)
        life = self._trees.remembered(pid)
        if life is not None and not await self._settled(life, timeout):
            return False
        unproved = (life.lost, life.marked) if life is not None and life.unproved else None
        if life is None:
            unproved = self._trees.forgotten(pid)
        if unproved is not None:
            lost, marked = unproved
            if lost:
                raise GuardLost(f"the guard of {pid} died; {_FOUND_BY_MARK if marked else _FOUND_WITHOUT}")
            raise TreeNotEmpty(f"{pid} was not empty when its manager was closed")
        return True

    async def wait_for_root(self, pid: ProcessId, timeout: float | None = None) -> RootExit | None:
        """Waits until the root has ended, whatever is left of its tree. None: it has not, in time.

        Of a root that has ended of which nobody knows how, neither code nor signal is told: its guard died, or that is
        too long ago. The exits of the last 1,024 ended trees are remembered. Raises :class:`~treeguard.TreeNotEmpty`
        when the manager was closed before it had ended.
        """
        checked_timeout("timeout", timeout)
        self._enter_if_open()
        life = self._trees.remembered(pid)
        if life is None:
            return RootExit()
        if not await life.until(lambda: life.exit is not None or life.empty, timeout):
            return None
        if life.exit is None and life.unproved and not life.lost:
            raise TreeNotEmpty(f"{pid} was not empty when its manager was closed")
        return life.exit or RootExit()

    async def wait_ready(self, pid: ProcessId, timeout: float | None = None) -> bool:
        """Waits until a child that was spawned with ``notify`` has told that it is ready. Whether it has, in time.

        The child may ask for more time. Raises :class:`~treeguard.ProcessEnded` if its tree ends before it is ready.
        """
        self._enter_if_open()
        ready = await self._notifications.wait_ready(pid, timeout)
        if ready is None and self._trees.living(pid) is not None:
            raise ValueError(f"{pid} was not spawned with notify=True")
        if ready is None:
            raise ProcessEnded(f"{pid} has ended")
        return ready

    def notify_status(self, pid: ProcessId) -> NotifyStatus | None:
        """What a child that was spawned with ``notify`` told last. None: it was not, or has ended long ago."""
        self._trees.remembered(pid)
        return self._notifications.status(pid)

    async def wait_for_change(self, pid: ProcessId, seen: TreeState | None = None) -> TreeState:
        """Waits until a tree's state is another than the one ``seen`` last."""
        self._enter_if_open()
        life = self._trees.remembered(pid)
        if life is None:
            return TreeState(0, empty=self._trees.forgotten(pid) is None)
        while (state := life.state) == seen and not life.empty:
            await life.changed()
        return state

    async def members(self, pid: ProcessId) -> tuple[int, ...]:
        """The process ids of those of a tree that live, parents before their children; its children's trees excluded.

        For reading, not for signalling: any of them may have ended, and its number be another's. With the mechanism
        ``process_group`` those that left both the root's group and its descent are not found.
        """
        self._enter_if_open()
        inside = self._inside(self._trees.living(pid))
        return () if inside is None else await aside(inside.members.pids)

    def has_member(self, pid: ProcessId, os_pid: int) -> bool:
        """Whether the process of that number lives and is of this tree."""
        self._enter_if_open()
        inside = self._inside(self._trees.living(pid))
        return inside is not None and inside.members.has(os_pid)

    async def terminate_members(self, pid: ProcessId) -> None:
        """See :meth:`ProcessManager.terminate_members`: those that have left the groups of the tree's roots."""
        self._enter_if_open()
        life = self._trees.living(pid)
        lives = [] if life is None else list(life.subtree())
        for inside in filter(None, map(self._inside, lives)):
            groups = {each.os_pid for each in lives}
            await aside(partial(inside.members.signal_outside, groups, _signal.SIGTERM))

    async def stats(self, pid: ProcessId) -> TreeStats | None:
        """What a tree used, its children's excluded. None: it ended too long ago, see :meth:`wait_for_root`."""
        self._enter_if_open()
        life = self._trees.remembered(pid)
        inside = self._inside(life)
        if inside is not None:
            return await aside(inside.accounts.read)
        return None if life is None else life.spent

    async def freeze(self, pid: ProcessId, timeout: float | None = 10.0) -> None:
        """Lets all processes of a tree stand still, and those of the trees below it; parents before children.

        They can be ended, but what asks them to end is heard only after :meth:`thaw`. In a cgroup this cannot be
        noticed by them, nor escaped; else it is done by SIGSTOP. Raises :class:`~treeguard.TreeNotFrozen` if some did
        not stand still within ``timeout`` seconds; then, and when it is cancelled, all go on.
        """
        checked_timeout("timeout", timeout)
        self._enter_if_open()
        await freezer.freeze(self._freezers(self._trees.alive(pid)), timeout)

    async def thaw(self, pid: ProcessId) -> None:
        """Lets a tree go on that was frozen, and those below it. One that has ended, or was not frozen, is no error."""
        self._enter_if_open()
        life = self._trees.living(pid)
        if life is not None:
            await freezer.thaw(self._freezers(life))

    def _freezers(self, life: Life) -> list[Freezer]:
        insides = [self._inside(each) for each in life.subtree()]
        return [inside.freezer for inside in reversed(insides) if inside is not None]

    def _inside(self, life: Life | None) -> Inside | None:
        """None: nothing can be seen of it any more, or not yet."""
        keeper = 0 if life is None or self._engine is None else self._engine.keeper(self._trees.tag(life))
        if life is None or not keeper or not life.started or self._contained is None:
            return None
        if life.inside is None:
            life.inside = self._contained.inside(keeper, self._trees.tag(life))
        return life.inside

    # Which tree is meant, and on which loop.

    def _enter(self) -> Engine:
        if self._closed:
            raise NotOwner("the manager has been closed")
        if self._engine is None or self._contained is None:
            loop = asyncio.get_running_loop()
            self._engine, self._contained = opened(self._system, self.containment, self._delivery, self._lease, loop)
            self._delivery.engine, self._delivery.contained = self._engine, self._contained
        engine = self._engine
        if not engine.owned:
            raise NotOwner("the manager belongs to the process that this one was forked from")
        loop = asyncio.get_running_loop()
        bound = engine.loop
        if bound is None:
            self._bind(engine, loop)
        elif bound is not loop:
            raise NotOwner("the manager is in use on another event loop")
        return engine

    def _bind(self, engine: Engine, loop: asyncio.AbstractEventLoop) -> None:
        """Works on this loop from now on, and takes up what the end of another one has cut short."""
        engine.bind(loop)
        self._delivery.resume()

    def _enter_if_open(self, *, look: bool = True) -> None:
        """``look``: what has happened by now counts, too. Who waits for it anyway need not ask."""
        if not self._closed and self._engine is not None:
            engine = self._enter()
            if look:
                engine.pump()

    # Down: starting and ending.

    async def _start(self, engine: Engine, life: Life, tag: int, spec: Spec) -> None:
        assert self._contained is not None
        try:
            await self._contained.spawn(engine, spec, tag, life.limits)
        except Fault as fault:
            about = _native.culprit(fault.step, life.program)
            raise spawn_error(fault.step, fault.errno, about, detail=fault.detail) from None
        engine.spawned(tag)
        if life.doomed:
            engine.kill(tag)

    async def _undo(self, engine: Engine, life: Life, tag: int, error: BaseException) -> None:
        """Ends what there is of a tree whose spawn has failed or was interrupted, wherever that was."""
        if engine.holds(tag) or life.lost:
            await uncancelled(self._end(engine, life, tag))
            return
        # No event will ever tell that there is no tree.
        engine.forget(tag)
        if self._contained is not None:
            self._contained.failed(tag)
        if not life.empty:
            life.chronicle.failed(error)
            life.give_up(proved=True)
        if life.settled and not life.left:
            self._trees.settle(life)

    async def _end(self, engine: Engine, life: Life, tag: int) -> None:
        if not life.started:
            engine.spawned(tag)
        self._kill_if_possible(life)
        await self._settled(life, None)

    def _kill(self, life: Life) -> None:
        """Children first; marked before the first blow, so that none can be added to the subtree meanwhile."""
        lives = list(life.subtree())
        errors = []
        for each in lives:
            each.doomed = True
        for each in lives:
            try:
                if self._engine is not None:
                    self._engine.kill(self._trees.tag(each))
            except OSError as e:
                errors.append(e)
        if errors:
            raise errors[0]

    def _kill_if_possible(self, life: Life) -> None:
        """What refuses to be killed is seen by its not becoming empty."""
        with contextlib.suppress(OSError):
            self._kill(life)

    async def _leave(self) -> str | None:
        """Ends everything; what has survived. It can be begun again wherever it was interrupted."""
        self._closed = True
        engine = self._engine
        if engine is None or self._left:
            return None
        loop = asyncio.get_running_loop()
        if self._survivors is None:
            if engine.loop is not loop:
                self._bind(engine, loop)
            if self._leave_by is None:
                self._leave_by = time.monotonic() + _LEAVE_PATIENCE
            engine.mend()
            for life in self._trees:
                self._kill_if_possible(life)
            for life in self._trees:
                await self._settled(life, self._leave_by - time.monotonic())
            self._survivors = "; ".join([await self._described(life) for life in self._trees])
        self._release(engine)
        return f"not empty after {_LEAVE_PATIENCE:g} s: {self._survivors}" if self._survivors else None

    async def _described(self, life: Life) -> str:
        """A tree that is not empty, and what is left of it."""
        inside = self._inside(life)
        left = ""
        if inside is not None:
            with contextlib.suppress(OSError, RuntimeError):  # too few descriptors, no thread
                left = await aside(partial(described, inside.members))
        return f"{life.pid} (root {life.os_pid})" + (f": {left}" if left else "")

    async def _settled(self, life: Life, timeout: float | None) -> bool:
        return await life.until(lambda: life.left, timeout)

    def _release(self, engine: Engine) -> None:
        engine.close()
        self._delivery.close()
        if self._contained is not None:
            self._contained.close()
        self._trees.give_up()
        self._left = True

    def __del__(self) -> None:
        engine = getattr(self, "_engine", None)
        if engine is None or self._left or not engine.owned:
            return
        # Ended first: the warning may be an error here.
        try:
            if not sys.is_finalizing():
                engine.abandon(_ABANDON_PATIENCE, self._delivery.bypass_now)
                self._release(engine)
        finally:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)


def _checked_signal(number: object) -> int:
    # Those of real time are in no enumeration, and CTRL_C_EVENT and CTRL_BREAK_EVENT of Windows in no set.
    if isinstance(number, int) and not isinstance(number, bool):
        if number in _signal.valid_signals():
            return int(number)
        with contextlib.suppress(ValueError):
            return int(_signal.Signals(number))
    raise ValueError(f"number must be that of a signal, not {number!r}")
