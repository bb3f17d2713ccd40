"""Lending the terminal to trees that the kernel stops because they need it, and taking it back.

Each tree has a process group of its own, and the terminal has one foreground group. The kernel stops a member of
another group that reads from the terminal (SIGTTIN), changes its settings, or writes to it under ``stty tostop``
(SIGTTOU), and its whole group with it. So a tree costs nothing until it is stopped for that reason.

The state here is the whole process's: it has one controlling terminal, however many managers, event loops and threads
use it. What counts is which group the terminal itself names, because a shell may take it at any time.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import signal
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

from . import native
from .controlling_terminal import Settings, Terminal, is_gone
from .engine.watch import call_weakly
from .forks import call_in_copies
from .relay import Relay
from .telemetry.log import log_of

if TYPE_CHECKING:
    from .engine.engine import Engine
    from .native import Event
    from .trees.record import TreeRecord

__all__ = ["Loan", "change", "lend_from_start", "set_lending"]

_WANTING = frozenset({signal.SIGTTIN, signal.SIGTTOU})
#: The pause between two looks of a tree that waits for the terminal, in seconds.
_LOOK = 0.02
#: How often a tree that Ctrl-Z has stopped is looked at before it is continued, because this process did not stop.
_SUSPENDED_LOOKS = 50


class _Desk:
    """Who has the terminal of this process, and who waits for it."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.enabled = True
        self.terminal: Terminal | None = None
        self.holder: Loan | None = None
        self.queue: list[weakref.ref[Loan]] = []
        atexit.register(self.close)
        call_in_copies(self.forked)

    def open(self) -> Terminal | None:
        """The terminal, looked for again as long as none is known, or after it has been hung up."""
        with self.lock:
            if self.terminal is not None and self.terminal.foreground < 0:
                self.terminal.close()
                self.terminal = None
            if self.terminal is None:
                self.terminal = Terminal.find()
            return self.terminal

    def first(self) -> Loan | None:
        """The one whose turn it is."""
        while self.queue:
            loan = self.queue[0]()
            if loan is not None and loan.waiting:
                return loan
            del self.queue[0]
        return None

    def close(self) -> None:
        """Takes the terminal back at the end of this process. The guard then ends the tree that had it."""
        with self.lock:
            self.enabled = False
            if self.holder is not None:
                self.holder.over(killed=True)

    def forked(self) -> None:
        """In a forked copy, which is in the same group and has lent nothing."""
        self.lock = threading.RLock()
        holder, self.holder = self.holder, None
        terminal, self.terminal = self.terminal, None
        self.queue.clear()
        if holder is not None:
            holder.relay.close()
        if terminal is not None:
            terminal.close()


_desk = _Desk()


def set_lending(enabled: bool) -> bool:
    """See :func:`treeguard.terminal.set_lending`."""
    before, _desk.enabled = _desk.enabled, enabled
    return before


def change(event: Event, record: TreeRecord, engine: Engine) -> None:
    """Takes an event of a tree, after its record has."""
    loan = record.loan
    if event.kind == native.STOPPED:
        if event.signal in _WANTING and (loan is not None or _may_share(record, engine)):
            if loan is None:
                loan = record.loan = Loan(record, engine)
            loan.want()
        elif loan is not None:
            loan.stopped(event.signal)
    elif loan is not None and event.kind == native.STARTED:
        loan.started()
    elif loan is not None and event.kind != native.CONTINUED:
        loan.over(killed=_was_killed(record))


def lend_from_start(record: TreeRecord, engine: Engine) -> None:
    """Takes note that a tree takes the terminal before its program runs."""
    if _desk.enabled and isinstance(engine.core, native.NativeEngine) and _desk.open() is not None:
        record.loan = loan = Loan(record, engine)
        loan.expect()


def _may_share(record: TreeRecord, engine: Engine) -> bool:
    """Whether a tree shares the terminal of this process. A tree in a POSIX session of its own does not."""
    if not (_desk.enabled and isinstance(engine.core, native.NativeEngine)):
        return False
    with contextlib.suppress(OSError):
        return os.getsid(record.os_pid) == os.getsid(0) and _desk.open() is not None
    return False


def _was_killed(record: TreeRecord) -> bool | None:
    """Whether something of an ended tree was killed, or died of a signal. None: not yet, but something is left."""
    ended = record.exit
    if ended is None or ended.signal is not None or record.kill_requested:
        return True
    return False if record.empty else None


class Loan:
    """One tree's use of the terminal, from its first stop to its end."""

    def __init__(self, record: TreeRecord, engine: Engine) -> None:
        self._record = weakref.ref(record)
        self._engine = weakref.ref(engine)
        self._timer: asyncio.TimerHandle | None = None
        self._settings: Settings | None = None
        self._reported = self._over = False
        self._looks = 0
        #: Sends the terminal's signals on while it is lent.
        self.relay = Relay()

    @property
    def group(self) -> int:
        """The root's group; 0 before there is one."""
        record = self._record()
        return 0 if record is None else record.os_pid

    @property
    def waiting(self) -> bool:
        """Whether the tree is stopped because it needs the terminal."""
        record = self._record()
        return record is not None and record.exit is None and not record.empty and record.stopped in _WANTING

    # Lending.

    def expect(self) -> None:
        """The tree takes the terminal itself."""
        with _desk.lock:
            self._remember()
            self._hold()

    def started(self) -> None:
        """There is a group that has it, or is about to."""
        if _desk.holder is self and not self.relay.begun:
            self.relay.begin(self.group)

    def want(self) -> None:
        """The tree was stopped because it needs the terminal."""
        with _desk.lock:
            _desk.queue.append(weakref.ref(self))
        self._reported = False
        self._try()

    def _try(self) -> None:
        """Lends the terminal and continues the tree, or looks again later."""
        if not self.waiting:
            return
        with _desk.lock:
            lent = _desk.enabled and _desk.first() is self and self._lend()
            if lent:
                del _desk.queue[0]
        if lent:
            self._continue()
        else:
            self._report()
            self._later(self._try)

    def _lend(self) -> bool:
        """Gives the tree the terminal, if our own group has it. The lock is held."""
        terminal = _desk.open()
        if terminal is None or not (terminal.ours or terminal.foreground == self.group):
            return False
        self._remember()
        self._hold()
        self.started()
        return terminal.lend(self.group)

    def _remember(self) -> None:
        if self._settings is None and _desk.terminal is not None:
            self._settings = _desk.terminal.settings()

    def _hold(self) -> None:
        """Takes note of who has it. One whose terminal a shell has taken and given to us has it no longer."""
        holder, _desk.holder = _desk.holder, self
        if holder is not None and holder is not self:
            holder.relay.end()

    def _continue(self) -> None:
        record, engine = self._record(), self._engine()
        if record is not None and engine is not None:
            with contextlib.suppress(OSError):
                engine.signal(record.tag, signal.SIGCONT)

    def _report(self) -> None:
        """Says once why a tree stays stopped."""
        record = self._record()
        if record is None or self._reported:
            return
        self._reported = True
        log = log_of("terminal", record.pid, record.connection)
        if _desk.holder is not None and _desk.holder is not self:
            log.info("%r (pid %d) is stopped until another tree returns the terminal", record.program, record.os_pid)
        else:
            log.warning(
                "%r (pid %d) needs the terminal: bring this program to the foreground", record.program, record.os_pid
            )

    # Ctrl-C and Ctrl-Z.

    def heard_interrupt(self) -> bool:
        """Whether the tree got the SIGINT that this process has just got, as the terminal sends it to both."""
        return self.relay.heard(signal.SIGINT)

    def stopped(self, number: int) -> None:
        """The tree was stopped for another reason."""
        if _desk.holder is not self:
            return
        if number == signal.SIGTSTP:
            if not self.relay.begun:
                os.killpg(0, signal.SIGTSTP)
            self._looks = 0
            self._look_suspended()
        else:
            # It blocks the terminal's stop signals, and with SIGSTOP it was stopped as well.
            self.relay.wake()

    def _look_suspended(self) -> None:
        """Continues a tree that Ctrl-Z has stopped, once a shell has continued this process too.

        The shell takes the terminal as soon as it sees this process stopped. So if the tree still has the terminal, the
        stop is yet to come, or there is none: nobody could continue an orphaned group, so the kernel drops the signal.
        """
        record, terminal = self._record(), _desk.terminal
        if record is None or terminal is None or record.stopped != signal.SIGTSTP or _desk.holder is not self:
            return
        # The looks are of a process that runs: while it is stopped there is none.
        self._looks += self._looks > 0 or self.relay.heard(signal.SIGTSTP) or not self.relay.begun
        if terminal.foreground == self.group and self._looks < _SUSPENDED_LOOKS:
            self._later(self._look_suspended)
            return
        with _desk.lock:
            if not self._lend():
                self._let_go()
        self._continue()

    # Taking it back.

    def take_back(self) -> None:
        """Takes the terminal back from a tree that lives on. If it still needs it, it is stopped, and asks again."""
        with _desk.lock:
            terminal = _desk.terminal
            if self._over or terminal is None:
                return
            if _desk.holder is self or terminal.foreground == self.group:
                terminal.take_back(self.group)
                self._let_go()

    def _let_go(self) -> None:
        self.relay.end()
        if _desk.holder is self:
            _desk.holder = None

    def over(self, *, killed: bool | None) -> None:
        """The root has ended. Restores the terminal's settings if something of the tree was ``killed``.

        None: it is not known yet, and this is called again. Without the terminal's group there is nothing to wait for:
        what a command has set on purpose stays.
        """
        if self._over:
            return
        if self._timer is not None:
            self._timer.cancel()
        with _desk.lock:
            self.take_back()
            self._over = killed is not None or is_gone(self.group)
            if killed and _desk.holder is None and _desk.terminal is not None:
                _desk.terminal.restore(self._settings)

    def _later(self, call: Callable[[], None]) -> None:
        engine = self._engine()
        loop = None if engine is None else engine.loop
        if loop is not None:
            self._timer = loop.call_later(_LOOK, call_weakly, weakref.WeakMethod(call))
