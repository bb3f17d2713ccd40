"""Stops of roots: passing them to what lends the terminal, and noticing them where there is no guard that tells."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import weakref
from typing import TYPE_CHECKING

from . import native
from .engine.watch import call_weakly
from .handlers import SystemErrors
from .native import Event

if TYPE_CHECKING:
    from .engine.engine import Engine
    from .trees.record import TreeRecord

__all__ = ["take"]

#: The pause between two looks at roots without a guard, in seconds.
_LOOK = 0.05


def take(event: Event, record: TreeRecord, engine: Engine | None) -> None:
    """Takes an event of a tree that may have to do with the terminal, after its record has."""
    if engine is None:
        return
    # There may be too few descriptors. What a signal's handler raises is the caller's.
    with SystemErrors(), contextlib.suppress(ImportError):
        if event.kind == native.STARTED and _needs_looks(record, engine):
            _looks_of(engine).add(record)
        if event.kind == native.STOPPED or record.loan is not None:
            from .lending import change

            change(event, record, engine)


def _needs_looks(record: TreeRecord, engine: Engine) -> bool:
    """Whether a root has no guard, and the kernel may stop it because of the terminal of this process's session."""
    with SystemErrors():  # it may have ended
        session = os.getsid(0)
        if not _has_terminal(session) or not hasattr(os, "waitid") or os.getsid(record.os_pid) != session:
            return False
        return engine.leader_pid(record.tag) == record.os_pid and isinstance(engine.core, native.NativeEngine)
    return False


@functools.lru_cache(maxsize=1)
def _has_terminal(_session: int) -> bool:
    """Whether this process has a controlling terminal, as long as it is in that session."""
    with SystemErrors():
        native.Descriptor().open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
        return True
    return False


class _Looks:
    """Asks at intervals whether roots without a guard were stopped.

    A pidfd does not tell that, and a handler of SIGCHLD is the host's to install. Only this needs it: there are no
    looks without a terminal.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = weakref.ref(engine)
        self._records: dict[int, TreeRecord] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def add(self, record: TreeRecord) -> None:
        """Looks at this root too, until it has ended."""
        self._records[record.tag] = record
        engine = self._engine()
        if engine is not None and (self._timer is None or engine.loop is not self._loop):
            self._later(engine)

    def _later(self, engine: Engine) -> None:
        self._loop = engine.loop
        if self._loop is not None:
            self._timer = self._loop.call_later(_LOOK, call_weakly, weakref.WeakMethod(self._look))

    def _look(self) -> None:
        self._timer = None
        engine = self._engine()
        if engine is None or not engine.core.owned:
            return
        for tag, record in list(self._records.items()):
            if record.exit is not None or record.empty or engine.tree(tag) is None:
                del self._records[tag]
        if not self._records:
            return
        self._later(engine)
        if _any_changed():
            for record in list(self._records.values()):
                self._look_at(record, engine)

    def _look_at(self, record: TreeRecord, engine: Engine) -> None:
        try:
            found = os.waitid(os.P_PID, record.os_pid, os.WSTOPPED | os.WCONTINUED | os.WNOHANG)
        except ChildProcessError:  # something else in this process has reaped it
            return
        if found is None:
            return
        stopped = found.si_code in (os.CLD_STOPPED, os.CLD_TRAPPED)
        kind, number = (native.STOPPED, found.si_status) if stopped else (native.CONTINUED, 0)
        event = Event(record.tag, kind, record.os_pid, "none", 0, -1, number, None, None)
        record.apply(event)
        take(event, record, engine)


def _any_changed() -> bool:
    """Whether any child was stopped or continued, in one call. Leaves it to be waited for."""
    try:
        return os.waitid(os.P_ALL, 0, os.WSTOPPED | os.WCONTINUED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False


_looks: weakref.WeakKeyDictionary[Engine, _Looks] = weakref.WeakKeyDictionary()


def _looks_of(engine: Engine) -> _Looks:
    looks = _looks.get(engine)
    if looks is None:
        looks = _looks[engine] = _Looks(engine)
    return looks
