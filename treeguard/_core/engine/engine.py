"""Events on their way up: from the C core's descriptor, through the event loop, to their receiver."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Collection, Iterable, MutableMapping
from typing import TYPE_CHECKING, Any, Protocol

from ...errors import spawn_error
from .. import native
from ..forks import call_in_copies, leave_copies_alone
from ..native import Event, Spec
from .overdue import Overdue
from .watch import call_weakly, watch_of

if TYPE_CHECKING:
    from .lease import Lease

__all__ = ["Core", "CoreTree", "Engine", "Receiver"]

#: The pause between looks at a state that no descriptor reports, in seconds: the first, and the longest.
_FIRST_LOOK = 0.001
_LAST_LOOK = 0.1
#: The pause before work that an exception has interrupted goes on, in seconds.
_RETRY = 0.01
_OVERSIGHT = 1.0


class CoreTree(Protocol):
    """A tree of the core: :class:`~treeguard._core.native.NativeTree`, or a test's. It exists before it is started."""

    @property
    def begun(self) -> bool: ...
    @property
    def polled(self) -> bool: ...
    @property
    def pid(self) -> int: ...
    def poll(self) -> Event | None: ...
    def heard(self) -> None: ...
    def signal(self, signal: int) -> None: ...
    def kill(self) -> None: ...
    @property
    def leaving(self) -> bool: ...
    def wake(self) -> bool: ...
    def dismiss(self, *, empty: bool) -> None: ...
    def free(self) -> None: ...


class Core(Protocol):
    """Starts trees and reports their events: :class:`~treeguard._core.native.NativeEngine`, or a test's."""

    leaving: int

    @property
    def owned(self) -> bool: ...

    def fileno(self) -> int: ...
    def take(self, told: deque[Event]) -> None: ...
    def spawn(
        self, spec: Spec, tag: int, *, lease: tuple[int, int], among: MutableMapping[int, Any] | None, kind: Any = None
    ) -> CoreTree: ...
    def forked(self) -> None: ...
    def close(self) -> None: ...


class Receiver(Protocol):
    """The receiver of an engine's events."""

    def deliver(self, event: Event) -> None:
        """Takes an event. The same event comes again if this raises an exception."""

    def mend(self) -> None:
        """Goes on with work that an exception has interrupted, on the loop. All waiting callers look again."""

    def late(self, tag: int) -> None:
        """Handles a guard that does not obey. Calling it again has no effect."""


class Engine:
    """A core on an asyncio loop, which calls the receiver on the loop with each event.

    The engine follows its user from a closed loop to another one, and is inert in a forked copy of the process. The
    loop does not keep the engine alive: a dropped engine is collected.

    A signal handler may raise between any two steps of Python. So the engine forgets a step only once it is done.
    Events stay in ``_told`` until they are delivered. A tree is stored before it is started, and freed after its end is
    reported.
    """

    def __init__(self, core: Core, receiver: Receiver, lease: Lease | None = None) -> None:
        """The engine closes ``core`` and ``lease`` when it is closed. It renews ``lease`` as long as the loop runs."""
        self._receiver = receiver
        self._lease = lease
        #: The core. It says whether this process made it, and with it the engine; a forked copy did not.
        self.core = core
        self._watch = watch_of(core)
        self._trees: dict[int, CoreTree] = {}
        self._guarded: set[int] = set()
        #: Those with a guard whose start is not reported yet.
        self._unstarted: set[int] = set()
        self._overdue = Overdue(receiver.late, self._trees, self._unstarted, self._leaving, _is_frozen)
        self._told: deque[Event] = deque()
        self._taking: Event | None = None
        self._failed: Event | None = None
        self._starting = threading.RLock()
        self._looks: dict[int, asyncio.TimerHandle] = {}
        self._overseer: asyncio.TimerHandle | None = None
        self._mending: asyncio.TimerHandle | None = None
        #: The loop that it was bound to last.
        self.bound: asyncio.AbstractEventLoop | None = None
        call_in_copies(self.forked)

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The loop that events arrive on; None if it is closed."""
        return None if self.bound is None or self.bound.is_closed() else self.bound

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Lets events arrive on ``loop``. Raises :class:`~treeguard.SpawnError` if it can watch no more descriptors."""
        if self.bound is loop:
            return
        try:
            self._watch.begin(loop, self.process_events)
        except OSError as error:
            raise spawn_error("engine", error.errno or errno.EIO, None) from error
        self._overdue.bind(loop)
        if self._lease is not None:
            self._lease.keep(loop)
        self.bound, self._overseer, self._mending = loop, None, None
        for tag in list(self._looks):
            self._schedule_poll(tag, _FIRST_LOOK)

    def spawn(self, spec: Spec, tag: int) -> None:
        """Starts a tree, on the loop; STARTED or FAILED will be delivered.

        Raises :class:`~treeguard._core.native.CoreError` if nothing was started. After any other exception,
        :meth:`holds` says whether there is a tree.
        """
        self.start(spec, tag)
        self.spawned(tag)

    def start(self, spec: Spec, tag: int, kind: type[CoreTree] | None = None) -> None:
        """The part of a spawn that another thread may do. The caller must call :meth:`spawned` after it."""
        lease = native.NO_LEASE if self._lease is None else (self._lease.fd, self._lease.milliseconds)
        with self._starting:
            if spec.guard is not None:
                self._guarded.add(tag)
                self._unstarted.add(tag)
            self.core.spawn(spec, tag, lease=lease, among=self._trees, kind=kind)

    def holds(self, tag: int) -> bool:
        """Whether there is such a tree: spawned, and not yet reported to be gone."""
        tree = self._trees.get(tag)
        return tree is not None and tree.begun

    def forget(self, tag: int) -> None:
        """Forgets a tree that was not started."""
        if not self.holds(tag):
            self._release(tag)

    def tree(self, tag: int) -> CoreTree | None:
        """The core's tree; None if there is no such tree."""
        return self._trees.get(tag)

    def leader_pid(self, tag: int) -> int:
        """The process id of a tree's guard, or of its root if it has no guard; 0 if there is no such tree."""
        return 0 if (tree := self._trees.get(tag)) is None else tree.pid

    def spawned(self, tag: int) -> None:
        """Starts delivering the events of a tree, on the loop."""
        if tag in self._guarded:
            if not self._overdue.armed:
                self._overdue.arm()
        elif (tree := self._trees.get(tag)) is not None and tree.polled:
            self.look(tag)

    def signal(self, tag: int, number: int) -> None:
        """Signals a root's group, unless the tree is gone."""
        if (tree := self._trees.get(tag)) is not None:
            tree.signal(number)

    def kill(self, tag: int) -> None:
        """Orders that a tree be ended by force, unless it is gone."""
        if (tree := self._trees.get(tag)) is not None:
            tree.kill()
            if tag in self._guarded:
                self._overdue.ending(tag)
        if tag in self._looks:
            self._schedule_poll(tag, _FIRST_LOOK)

    def dismiss(self, tag: int, *, empty: bool) -> None:
        """Kills a guard that does not obey. ``empty``: nothing else is left of its tree."""
        if (tree := self._trees.get(tag)) is not None:
            tree.dismiss(empty=empty)
            with contextlib.suppress(OSError, ImportError):  # too few descriptors to import it
                from ..processes.freezer import release

                release(tree.pid)

    def leader_pids(self) -> Collection[int]:
        """The process ids of all guards, and of the roots that have no guard."""
        return {tree.pid for tree in list(self._trees.values())}

    def _leaving(self) -> Iterable[int]:
        if not self._guarded or not self.core.leaving:
            return ()
        return [tag for tag, tree in list(self._trees.items()) if tag in self._guarded and tree.leaving]

    def process_events(self) -> None:
        """Delivers all pending events. A call from within a delivery leaves them to that; :meth:`mend` does not."""
        try:
            # A tree that another thread is starting may have events before it is stored here.
            with self._starting:
                self.core.take(self._told)
            self._deliver_told()
            if self._guarded and self.core.leaving and not self._overdue.armed:
                self._overdue.arm()
        except BaseException as error:
            self._interrupted(error)
            raise

    def _deliver_told(self) -> None:
        told = self._told
        while True:
            # No signal handler comes between a look at the first event and its use.
            if not told or told[0] is self._taking:
                break
            event = self._taking = told[0]
            self._take(event)
            if told and told[0] is event:
                del told[0]

    def mend(self) -> None:
        """Does the work that an exception in any method here has left undone."""
        self._mending = self._taking = None
        for tag, tree in list(self._trees.items()):
            if tree.polled:  # an event that it keeps comes before those of the descriptor
                self.look(tag)
        self.process_events()
        self._receiver.mend()

    def _interrupted(self, error: BaseException) -> None:
        """Schedules what was not delivered. Drops an event that raises an error a second time."""
        event, self._taking = self._taking, None
        if event is not None:
            if isinstance(error, Exception) and event is self._failed:
                with contextlib.suppress(ValueError):
                    self._told.remove(event)
            self._failed = event
        if self._mending is None and self.loop is not None:
            self._mending = self.loop.call_later(_RETRY, call_weakly, weakref.WeakMethod(self.mend))

    def _take(self, event: Event) -> None:
        if event.tag not in self._trees:
            return
        over = event.kind in native.OVER
        if event.kind == native.STARTED:
            self._unstarted.discard(event.tag)
        if event.polled and not over:
            self._schedule_poll(event.tag, _FIRST_LOOK)
        if event.kind != native.CLOSING:
            self._receiver.deliver(event)
        if over:
            self._release(event.tag)

    def _schedule_poll(self, tag: int, delay: float) -> None:
        before = self._looks.get(tag)
        if self.bound is not None:
            # The earlier look is given up last: an exception may come, and somebody has to look.
            self._looks[tag] = self.bound.call_later(delay, _look_weakly, weakref.ref(self), tag, delay)
            if before is not None:
                before.cancel()
            if self._overseer is None:
                self._overseer = self.bound.call_later(_OVERSIGHT, call_weakly, weakref.WeakMethod(self._oversee))

    def _oversee(self) -> None:
        """Goes on with looks that are overdue, because an exception came just before they began and went unnoticed."""
        self._overseer = None
        if self.bound is None:
            return
        overdue = self.bound.time() - _OVERSIGHT / 2
        for tag, look in list(self._looks.items()):
            if look.when() < overdue or self._overseer is None:
                self._schedule_poll(tag, _FIRST_LOOK)

    def look(self, tag: int, delay: float = _FIRST_LOOK / 2) -> None:
        """Looks for events that no descriptor reports, now and at growing intervals."""
        try:
            if tag in self._looks:
                self._stop_looking(tag)
            if (tree := self._trees.get(tag)) is None:
                return
            if (event := tree.poll()) is None:
                self._schedule_poll(tag, min(delay * 2, _LAST_LOOK))
                return
            self._told.append(event)
            tree.heard()
            self._deliver_told()
        except BaseException as error:
            self._interrupted(error)
            raise

    def _release(self, tag: int) -> None:
        if tag in self._looks:
            self._stop_looking(tag)
        self._unstarted.discard(tag)
        self._guarded.discard(tag)
        if (tree := self._trees.get(tag)) is not None:
            tree.free()
        self._trees.pop(tag, None)

    def _stop_looking(self, tag: int) -> None:
        if (handle := self._looks.pop(tag, None)) is not None:
            handle.cancel()

    def close(self) -> None:
        """Closes all descriptors. Guards end what still lives of their trees. Calling it again has no effect."""
        self._overdue.stop()
        if self.core.owned:
            self._watch.end()
        for tag in list(self._trees):
            self._release(tag)
        if self._lease is not None:
            self._lease.close()
        self.core.close()
        leave_copies_alone(self)

    def abandon(self, patience: float, bypass: Callable[[int], bool]) -> None:
        """Ends everything without a loop, within ``patience`` seconds, for an engine that was left open.

        Calls ``bypass`` with each tree whose guard does not obey. It ends what it finds of the tree, and returns
        whether nothing is left.
        """
        self._watch.end()
        self._looks.clear()
        for tree in self._trees.values():
            with contextlib.suppress(OSError):
                tree.kill()
        late, deadline = time.monotonic() + patience / 2, time.monotonic() + patience
        while any(tree.begun for tree in self._trees.values()) and time.monotonic() < deadline:
            for tag in self._guarded & self._trees.keys() if time.monotonic() >= late else ():
                if bypass(tag):
                    self._trees[tag].dismiss(empty=True)
            self.core.take(self._told)
            for tree in self._trees.values():
                if (event := tree.poll()) is not None:
                    self._told.append(event)
                    tree.heard()
            if not self._told:
                self._watch.pause(_FIRST_LOOK)
            while self._told:
                event = self._told.popleft()
                if event.tag in self._trees and event.kind in native.OVER:
                    self._release(event.tag)
        self.close()

    def forked(self) -> None:
        """Releases the original's descriptors in a forked copy. Open copies would keep the original's peers waiting."""
        self._looks.clear()
        self._overdue.stop()
        for tree in self._trees.values():
            tree.free()
        self._trees.clear()
        if self._lease is not None:
            self._lease.close()
        self.core.forked()
        self.core.close()


def _is_frozen(pid: int) -> bool:
    with contextlib.suppress(OSError, ImportError):  # too few descriptors to import it
        from ..processes.freezer import is_frozen

        return is_frozen(pid)
    return False


def _look_weakly(engine: weakref.ref[Engine], tag: int, delay: float) -> None:
    if (looking := engine()) is not None:
        looking.look(tag, delay)
