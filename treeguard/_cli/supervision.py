"""The time from a command's start to its tree's end: passing signals on, and sharing stops with the shell."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable
from functools import partial

from .._core.controlling_terminal import Terminal
from .._core.inspection.left import left_of
from .._core.waiting import aside
from ..errors import SpawnError
from ..local import LocalProcessManager
from ..params import SpawnParams
from ..types import ChildHandle, TreeState
from .ending import ENDING, Ending
from .failure import OWN_FAILURE
from .hearing import HANDED_ON, hear
from .init import reap_strangers
from .outcome import Outcome
from .output import complain
from .parent import when_parent_ends
from .report import Reporter
from .request import Request
from .stopping import stop_with

__all__ = ["Supervision"]

#: Seconds in which a tree that is killed has to be gone. A process that waits for a device or a dead file server, or
#: another user's, may stay. It is twice the time after which a guard that does not kill is replaced.
KILLED_IN = 10.0
_TERMINAL_USE = frozenset({signal.SIGTTIN, signal.SIGTTOU})


class Supervision:
    """Looks after one command. Queues what happens, and handles one thing at a time."""

    def __init__(
        self, manager: LocalProcessManager, terminal: Terminal | None, request: Request, reporter: Reporter
    ) -> None:
        self._manager = manager
        self._terminal = terminal
        self._settings = None if terminal is None else terminal.settings()
        self._patience = request.patience
        self._in_foreground = request.foreground
        self._reporter = reporter
        self._outcome: Outcome | None = None
        self._ending = Ending(
            *(manager, request.patience, self._after, self._bound, self._release), terminal=terminal is not None
        )
        self._happened: asyncio.Queue[Callable[[], Awaitable[None]]] = asyncio.Queue()
        self._state: TreeState | None = None
        self._stop_asked = False
        self._looks: list[Callable[[], None]] = []

    async def run(self, params: SpawnParams) -> Outcome:
        """Starts the command and returns when its tree has ended, or had its time. The manager ends the rest."""
        # Install the handlers before the command starts: a signal that comes during the start waits in the queue.
        hear(self._heard, frozenset(params.ignore_signals))
        try:
            self._when_children_change(self._reap_strangers)
            handle = await self._spawned(params)
            self._outcome = outcome = Outcome(handle.pid, handle.os_pid)
            self._ending.begin(handle.pid, handle.os_pid)
            self._reporter.started(outcome, self._manager.containment.mechanism)
            if self._terminal is not None and self._in_foreground:
                self._terminal.lend(outcome.group)
            if self._patience.timeout is not None:
                self._after(self._patience.timeout, self._ending.time_out)
            if self._patience.with_parent:
                when_parent_ends(partial(self._happened.put_nowait, self._parent_ended))
            if self._manager.containment.mechanism == "process_group":
                self._when_children_change(partial(self._happened.put_nowait, self._look_for_stop))
            watching = asyncio.ensure_future(self._watch())
            watching.add_done_callback(self._watched)
            try:
                await self._deal()
            finally:
                watching.cancel()
        finally:
            # The status is final. Signals that still arrive must not change it on the way out.
            signal.pthread_sigmask(signal.SIG_BLOCK, HANDED_ON)
        # Leaving the manager kills what is left.
        self._bound()
        outcome.asked = self._ending.asked
        return outcome

    async def _spawned(self, params: SpawnParams) -> ChildHandle:
        try:
            return await self._manager.spawn_child(params)
        except SpawnError as error:
            from .script import as_script  # noqa: PLC0415 - few commands are one

            script = as_script(params, error)
            if script is None:
                raise
            return await self._manager.spawn_child(script)

    def return_terminal(self) -> bool:
        """Takes the terminal back from the command. Returns whether the command had it.

        Restores its settings if something of the tree was ended by us, or the root by a signal, or nobody knows: what
        was ended could not do so itself. A command that ended by itself may have set them on purpose.
        """
        terminal, outcome = self._terminal, self._outcome
        if outcome is not None:
            outcome.killed = outcome.released is None and self._has_killed(outcome)
        if terminal is None:
            return False
        taken = terminal.take_back(0 if outcome is None else outcome.group)
        if outcome is not None:
            died = outcome.exit is None or outcome.exit.signal is not None
            if died or outcome.killed or self._ending.forced:
                terminal.restore(self._settings)
        return taken

    def _has_killed(self, outcome: Outcome) -> bool:
        record = self._manager._trees.remembered(outcome.pid)
        return record is None or record.kill_requested or record.lost

    async def _release(self) -> bool:
        from .release import release  # noqa: PLC0415 - most commands leave nothing, or want it ended

        return await release(self._manager, self._command, self._ending.members)

    @property
    def _command(self) -> Outcome:
        assert self._outcome is not None
        return self._outcome

    def _when_children_change(self, look: Callable[[], None]) -> None:
        """Calls ``look`` at each SIGCHLD, and once now: a child may have changed before there was a handler."""
        self._looks.append(look)
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self._children_changed)
        look()

    def _children_changed(self) -> None:
        for look in self._looks:
            look()

    def _reap_strangers(self) -> None:
        reap_strangers(lambda: () if self._manager._running is None else self._manager._running.engine.leader_pids())

    def _heard(self, number: int) -> None:
        self._happened.put_nowait(partial(self._pass_on, number))

    def _after(self, delay: float, happening: Callable[[], Awaitable[None]]) -> None:
        asyncio.get_running_loop().call_later(delay, self._happened.put_nowait, happening)

    def _bound(self) -> None:
        """The tree is being killed, and that is waited for, but not for ever."""
        asyncio.get_running_loop().call_later(KILLED_IN, self._give_up)

    def _give_up(self) -> None:
        """Says who cannot be killed, and ends this process. The guard goes on killing."""
        outcome, members = self._command, self._ending.members
        outcome.left = () if members is None else left_of(members)
        outcome.asked, outcome.killed = self._ending.asked, True
        self.return_terminal()
        names = ", ".join(f"{each.name} ({each.pid})" for each in outcome.left) or "the tree"
        words = f"not gone {KILLED_IN:g} seconds after SIGKILL: {names}"
        complain(f"treeguard run: {words}")
        self._reporter.ended(OWN_FAILURE, words)
        os._exit(OWN_FAILURE)

    async def _deal(self) -> None:
        while not self._ending.over:
            happening = await self._happened.get()
            await happening()

    async def _watch(self) -> None:
        while self._state is None or not self._state.empty:
            self._state = await self._manager.wait_for_change(self._command.pid, self._state)
            self._happened.put_nowait(partial(self._changed, self._state))

    def _watched(self, watching: asyncio.Future[None]) -> None:
        if not watching.cancelled() and watching.exception() is not None:
            # The error is raised where the happenings are dealt with.
            self._happened.put_nowait(lambda: watching)

    async def _changed(self, state: TreeState) -> None:
        outcome = self._command
        ended = state.exit is not None and outcome.exit is None
        outcome.exit = state.exit
        if state.empty:
            self._ending.over = True
        elif ended:
            if self._reporter.wanted and self._ending.members is not None:
                with contextlib.suppress(OSError, RuntimeError):  # too few descriptors, no thread
                    outcome.left = await aside(partial(left_of, self._ending.members, self._reporter.outputs))
            await self._ending.root_ended(None if state.exit is None else state.exit.signal)
        elif state.stopped and state is self._state:
            await self._stopped(state.stopped)

    async def _look_for_stop(self) -> None:
        number = _stop_of(self._command.group)
        if number is not None:
            await self._stopped(number)

    # Signals, and the end of the time.

    async def _pass_on(self, number: int) -> None:
        if number == signal.SIGCONT:
            await self._go_on()
        elif number in ENDING:
            await self._ending.ask(number)
        else:
            self._stop_asked |= number == signal.SIGTSTP
            await self._signal(number)

    async def _parent_ended(self) -> None:
        if not self._ending.asked:
            await self._ending.ask(signal.SIGTERM, "parent")

    async def _signal(self, number: int) -> None:
        # A command that has changed its user may refuse the signal, which is only a request.
        with contextlib.suppress(PermissionError):
            await self._manager.signal_tree(self._command.pid, number)

    # Stopping and going on.

    async def _stopped(self, number: int) -> None:
        if self._ending.asked:
            # The sender of the signal waits for the end, and the grace is running.
            return
        terminal = self._terminal
        if number in _TERMINAL_USE and terminal is not None and terminal.lend(self._command.group):
            terminal.wanted = True
            await self._signal(signal.SIGCONT)
            return
        asked, self._stop_asked = self._stop_asked, False
        if not asked and (terminal is None or not terminal.seen):
            # This is not a shell's job. The process that stopped the command must know what to continue.
            return
        taken = terminal is not None and terminal.take_back(self._command.group)
        # The terminal would also have stopped our group if the command were in it.
        whole_group = number in _TERMINAL_USE or (taken and number == signal.SIGTSTP)
        if stop_with(number, whole_group=whole_group) or number == signal.SIGTSTP:
            await self._go_on()

    async def _go_on(self) -> None:
        if self._terminal is not None and self._terminal.wanted:
            self._terminal.lend(self._command.group)
        await self._signal(signal.SIGCONT)


def _stop_of(child: int) -> int | None:
    """The signal that has just stopped a child; None if there is none. Without a guard the root is a child."""
    with contextlib.suppress(ChildProcessError):
        found = os.waitid(os.P_PID, child, os.WSTOPPED | os.WNOHANG)
        if found is not None:
            return found.si_status
    return None
