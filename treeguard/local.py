"""The process manager of this machine."""

from __future__ import annotations

import signal as _signal
import sys
import warnings
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from ._core import validation
from ._core.containment.guarantees import Containment, check_name
from ._core.containment.host import System
from ._core.running import Running
from ._core.spec import ISOLATED_BY, Additions
from ._core.trees.registry import TreeRegistry
from ._core.waiting import Finish, aside
from .errors import NotOwner, TreeNotEmpty
from .manager import ProcessManager
from .params import FIELDS, Isolation, SpawnParams, StrPath
from .types import ChildHandle, ConnectionId, ContainmentName, GuaranteeName, ProcessId, RootExit, TreeState, TreeStats

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._core.inspection.tree import Inspection
    from ._core.options import SpawnOptions
    from ._core.resources import ChildResources
    from ._core.trees.record import TreeRecord
    from .control import ControlServer
    from .ext import SpawnHook
    from .notify.listener import Notifications, NotifyStatus, OnHung
    from .released import ReleasedTree
    from .tree import Tree
    from .types import SignalTarget

__all__ = ["LocalProcessManager"]


class LocalProcessManager(ProcessManager):
    """Owns trees of processes on this machine. An async context manager: leaving it empties every tree.

    ``containment`` is ``"auto"`` or a mechanism, and ``require`` is names of booleans of
    :class:`~treeguard.Containment`, as in ``require=("contains_escapees",)``. The constructor checks the names only: an
    unknown one raises ValueError. A mechanism that this host cannot give, or that lacks a required guarantee, raises
    :class:`~treeguard.ContainmentUnavailable` on first use: by ``async with``, by :attr:`containment` or by a spawn,
    before anything is started. Without ``require``, ``"auto"`` may settle for a mechanism that lets escapees go, and
    gives a :class:`~treeguard.ContainmentWarning`.

    With ``lease``, in seconds, every tree is ended when the event loop did not come round for so long: because this
    process is stopped, or a callback hangs. Time in which the machine is suspended does not count. A lease needs a
    guard, so ``process_group`` and ``job_object`` have none.

    With ``die_with_parent`` every tree is killed also when the process that started this one has ended: see
    :class:`~treeguard.SpawnParams`. This process itself goes on, and can start no more trees with this manager.

    ``isolation`` is what keeps children, unless their parameters say otherwise, from signalling and tracing their
    guards and this process: see :class:`~treeguard.SpawnParams`. Where it is not to be had, that too raises
    :class:`~treeguard.ContainmentUnavailable` on first use.

    ``control`` serves the children that are spawned with ``control``; one with no services is made where none is given.
    ``on_hung`` is called with a child whose watchdog fell silent (``SpawnParams.watchdog``), before its tree is killed.
    Each of ``providers`` is asked what it has for a child that is spawned: see :class:`~treeguard.ext.ChildResource`.

    A manager works on the event loop that it is first used on, in any thread, and follows to another one when that has
    been closed. In a forked copy of the process it is inert.
    """

    #: What it asks of the system. A test without processes has another.
    _host: Callable[[], System] = System

    def __init__(
        self,
        *,
        containment: ContainmentName = "auto",
        require: Collection[GuaranteeName] = (),
        lease: float | None = None,
        isolation: Isolation | None = None,
        control: ControlServer | None = None,
        on_hung: OnHung | None = None,
        providers: Sequence[SpawnHook] = (),
        die_with_parent: bool = False,
    ) -> None:
        check_name(containment)
        self._providers: Sequence[SpawnHook] = ()
        self._bound: Callable[[SpawnParams], SpawnParams] | None = None
        if require != () or providers != () or die_with_parent is not False:
            from ._core.manager_arguments import checked

            self._providers, self._bound = checked(require, providers, die_with_parent)
        validation.one_of("isolation", isolation, (None, *ISOLATED_BY))
        validation.plain_function("on_hung", on_hung, optional=True)
        self._asked = containment
        self._required = tuple(require)
        self._lease = validation.lease(lease)
        self._isolation: Isolation = isolation or "none"
        if control is not None:
            from .control import ControlServer

            validation.instance("control", control, ControlServer, "a ControlServer or None")
        self._control = control
        self._on_hung = on_hung
        self._notifications: Notifications | None = None
        self._system = self._host()
        self._containment: Containment | None = None
        self._running: Running | None = None
        self._closed = False
        self._finish: Finish[str | None] = Finish()
        self._trees = TreeRegistry()

    @property
    def containment(self) -> Containment:
        """What was achieved. Found out by a trial of a millisecond or two, once."""
        if self._containment is None:
            self._containment = self._system.contain(self._asked, self._required, self._isolation)
        return self._containment

    @property
    def control(self) -> ControlServer:
        """What serves the children that are spawned with ``control``."""
        if self._control is None:
            from .control import ControlServer

            self._control = ControlServer()
        return self._control

    async def __aenter__(self) -> LocalProcessManager:
        self._enter()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Empties every tree, as leaving the manager does. Nothing can be spawned after; ids are still answered for.

        Whatever is cancelled meanwhile, and whoever else leaves it too, this returns when it is done. Raises
        :class:`~treeguard.TreeNotEmpty` if a tree holds processes that cannot be killed, to each who was waiting then.
        """
        if self._running is not None and not self._running.may_leave():
            return
        if survivors := await self._finish(self._leave):
            raise TreeNotEmpty(survivors)

    async def spawn(self, program: StrPath | None = None, *args: StrPath, **options: Unpack[SpawnOptions]) -> Tree:
        """Starts a tree and returns when its program runs: ``spawn("make", "-j4", cwd="src")``.

        ``options`` are those of :func:`~treeguard.open_tree`. Raises :class:`~treeguard.SpawnError` if nothing started.
        """
        if options.keys() <= FIELDS:
            return self.tree((await self.spawn_child(SpawnParams(program, args, **options))).pid)  # type: ignore[misc]
        from ._core.standard_names import params_of

        return self.tree((await self.spawn_child(params_of("spawn", program, args, options, like_popen=False))).pid)

    def tree(self, pid: ProcessId) -> Tree:
        """The tree of an id. Raises :class:`~treeguard.UnknownProcess` for one that was not issued here.

        The last 1,024 ended trees are remembered; an older one raises :class:`~treeguard.ProcessEnded`.
        """
        record = self._trees.recent(pid)
        from .tree import Tree

        assert self._running is not None
        return Tree(self, self._running, record)

    async def take_over(self, token: ReleasedTree) -> Tree:
        """Takes a released tree over: it is this manager's from now on, and ends with this process.

        Raises :class:`~treeguard.released.TakeOverRefused`, and the tree is as it was; ProcessEnded if it has ended.
        """
        from ._core.adoption import take_over

        running, bound = self._enter(), self._bound is not None
        return self.tree((await take_over(running, self.containment.mechanism, token, bound=bound)).pid)

    async def spawn_child(self, params: SpawnParams) -> ChildHandle:
        """See :meth:`ProcessManager.spawn_child`."""
        if not isinstance(params, SpawnParams):
            raise validation.wrong_type("params", "SpawnParams", params)
        params = params if self._bound is None else self._bound(params)
        running = self._enter()
        if params.limits is not None:
            self._system.check_limits(params.limits, self.containment)
        isolation = params.isolation or self._isolation
        if isolation != "none":
            self._system.check_isolation(self.containment, isolation)
        record = self._trees.made(params)
        try:
            self._trees.add(record)
            additions = Additions(isolated=ISOLATED_BY[isolation], parent=record.parent.tag if record.parent else 0)
            resources = self._resources_for(record, params)
            if resources is not None:
                resources.add_to(additions)
            await running.start(record, params, additions)
            handle = await record.begin()
            if resources is not None:
                resources.started(handle)
            return handle
        except BaseException as error:
            await running.undo(record, error)
            raise

    def _resources_for(self, record: TreeRecord, params: SpawnParams) -> ChildResources | None:
        """What a child is given besides its parameters. It is in the record at once, which withdraws it."""
        if hooks := self._hooks_for(params):
            from ._core.resources import ChildResources, WeakOwner

            record.resources = ChildResources.made(hooks, WeakOwner(self), record.pid, params)
        return record.resources

    def _hooks_for(self, params: SpawnParams) -> Sequence[SpawnHook]:
        """Who may have something for a child. What no child asks for is not imported."""
        if not (params.control or params.notify):
            return self._providers
        if params.notify and self._notifications is None:
            from .notify.listener import Notifications

            self._notifications = Notifications(self._on_hung)
        first = (self.control._children,) if params.control else ()
        return (*first, self._notifications, *self._providers) if self._notifications else (*first, *self._providers)

    async def attach_connection(self, pid: ProcessId, conn: ConnectionId) -> None:
        """See :meth:`ProcessManager.attach_connection`. A connection is bound to one child at a time."""
        self._enter_if_open()
        self._trees.connect(pid, conn)

    def _detach_connection(self, conn: ConnectionId) -> None:
        """A connection has ended. One that is not attached is no error."""
        self._trees.disconnect(conn)

    async def list_children(self) -> list[ChildHandle]:
        """See :meth:`ProcessManager.list_children`."""
        self._enter_if_open()
        return [record.handle for record in self._trees if record.started]

    async def terminate_tree(self, pid: ProcessId, force: bool = False) -> None:
        """See :meth:`ProcessManager.terminate_tree`. An error of one tree is raised after all had their turn."""
        if not validation.flag("force", force):
            await self.ask_tree(pid, to="group")
        elif (record := self._living(pid)) is not None and self._running is not None:
            self._running.kill(record)

    async def signal_tree(self, pid: ProcessId, number: int, to: SignalTarget = "group") -> None:
        """Sends a signal, and nothing else, to a tree and to those below it, these first: see :meth:`Tree.send_signal`.

        ``number`` may be a real-time signal of POSIX. Raises ValueError for what is none, as 0 is.
        """
        from ._core.signalling import signal_tree

        signal_tree(self._running, self._living(pid), number, to)

    async def ask_tree(self, pid: ProcessId, number: int = _signal.SIGTERM, to: SignalTarget | None = None) -> None:
        """See :meth:`ProcessManager.ask_tree`."""
        from ._core.signalling import ask

        await ask(self._running, self._living(pid), number, to, self.notify_status)

    async def ask_rest(self, pid: ProcessId, number: int = _signal.SIGTERM) -> None:
        """See :meth:`ProcessManager.ask_rest`."""
        from ._core.signalling import ask_rest

        await ask_rest(self._running, self._living(pid), number, self.notify_status)

    async def wait_for_exit(self, pid: ProcessId, timeout: float | None = None) -> bool:
        """See :meth:`ProcessManager.wait_for_exit`; here True means *empty*, children's trees included.

        Raises :class:`~treeguard.GuardLost` when that cannot be proved because the guard died, and
        :class:`~treeguard.TreeNotEmpty` when the manager was closed before.
        """
        validation.optional_seconds("timeout", timeout)
        self._enter_if_open(look=timeout == 0)
        record = self._trees.remembered(pid)
        if record is not None and not await record.settled(timeout):
            return False
        if record is None or record.unverified:
            self._trees.check_verified(pid, record)
        return True

    async def wait_for_root(self, pid: ProcessId, timeout: float | None = None) -> RootExit | None:
        """Waits until the root has ended, whatever is left of its tree. None: it has not, in time.

        Of a root that has ended of which nobody knows how, neither code nor signal is told: its guard died, or that is
        too long ago. The exits of the last 1,024 ended trees are remembered. Raises :class:`~treeguard.TreeNotEmpty`
        when the manager was closed before it had ended.
        """
        validation.optional_seconds("timeout", timeout)
        self._enter_if_open()
        record = self._trees.remembered(pid)
        from ._core.trees.outlook import root_exit

        return RootExit() if record is None else await root_exit(record, timeout)

    async def wait_ready(self, pid: ProcessId, timeout: float | None = None) -> bool:
        """Waits until a child that was spawned with ``notify`` has told that it is ready. Whether it has, in time.

        The child may ask for more time. Raises :class:`~treeguard.ProcessEnded` if its tree ends before it is ready.
        """
        from .notify.readiness import wait_ready

        return await wait_ready(self._notifications, pid, timeout, lives=self._living(pid) is not None)

    def notify_status(self, pid: ProcessId) -> NotifyStatus | None:
        """What a child that was spawned with ``notify`` told last. None: it was not, or has ended long ago."""
        self._trees.remembered(pid)
        return None if self._notifications is None else self._notifications.status(pid)

    async def wait_for_change(self, pid: ProcessId, seen: TreeState | None = None) -> TreeState:
        """Waits until a tree's state is another than the one ``seen`` last."""
        validation.instance("seen", seen, TreeState | None, "a TreeState or None")
        self._enter_if_open()
        from ._core.trees.outlook import next_state

        return await next_state(self._trees, pid, seen)

    async def members(self, pid: ProcessId) -> tuple[int, ...]:
        """The process ids of those of a tree that live, parents before their children; its children's trees excluded.

        For reading, not for signalling: any of them may have ended, and its number be another's. With the mechanism
        ``process_group`` those that left both the root's group and its descent are not found.
        """
        inspection = self._inspection(self._living(pid))
        return () if inspection is None else await aside(inspection.members.pids)

    def _has_member(self, pid: ProcessId, os_pid: int) -> bool:
        """Whether the process of that number lives and is of this tree."""
        inspection = self._inspection(self._living(pid))
        return inspection is not None and inspection.members.has(os_pid)

    async def terminate_members(self, pid: ProcessId) -> None:
        """See :meth:`ProcessManager.terminate_members`: those that have left the groups of the tree's roots."""
        from ._core.signalling import ask_escapees

        await ask_escapees(self._running, self._living(pid), _signal.SIGTERM)

    async def stats(self, pid: ProcessId) -> TreeStats | None:
        """What a tree used, its children's excluded. None: it ended too long ago, see :meth:`wait_for_root`."""
        self._enter_if_open()
        record = self._trees.remembered(pid)
        if (inspection := self._inspection(record)) is not None:
            return await aside(inspection.accounts.read)
        return None if record is None else record.final_stats

    async def freeze(self, pid: ProcessId, timeout: float | None = 10.0) -> None:
        """Lets all processes of a tree stand still, and those of the trees below it; parents before children.

        They can be ended. A signal that they handle is handled only after :meth:`thaw`. In a cgroup this cannot be
        noticed by them, nor escaped; else it is done by SIGSTOP. Raises :class:`~treeguard.errors.TreeNotFrozen` if
        some did not stand still within ``timeout`` seconds; then, and when it is cancelled, all go on.
        """
        validation.optional_seconds("timeout", timeout)
        self._enter_if_open()
        record = self._trees.alive(pid)
        await self._enter().freeze(record, timeout)

    async def thaw(self, pid: ProcessId) -> None:
        """Lets a tree go on that was frozen, and those below it. One that has ended, or was not frozen, is no error."""
        if (record := self._living(pid)) is not None and self._running is not None:
            await self._running.thaw(record)

    def _living(self, pid: ProcessId) -> TreeRecord | None:
        """The tree, unless it has settled by now."""
        self._enter_if_open()
        return self._trees.living(pid)

    def _inspection(self, record: TreeRecord | None) -> Inspection | None:
        return None if self._running is None else self._running.inspection(record)

    # Which tree is meant, and on which loop.

    def _enter(self) -> Running:
        if self._closed:
            raise NotOwner("the manager has been closed")
        if self._running is None:
            self._running = Running(self._system, self.containment, self._trees, self._lease, "treeguard.shutdown")
        self._running.enter()
        return self._running

    def _enter_if_open(self, *, look: bool = True) -> None:
        """``look``: also counts what has happened by now. A caller that waits for it anyway need not ask."""
        if not self._closed and self._running is not None:
            self._running.enter()
            if look:
                self._running.process_events()

    async def _leave(self) -> str | None:
        self._closed = True
        return None if self._running is None else await self._running.leave()

    def __del__(self) -> None:
        running = getattr(self, "_running", None)
        if running is None or running.left or not running.owned:
            return
        # Ended first: the warning may be an error here.
        try:
            if not sys.is_finalizing():
                running.abandon()
        finally:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)
