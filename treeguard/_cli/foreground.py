"""Running a command in the foreground, with everything that ``treeguard run`` has inherited."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

from .._core.controlling_terminal import Terminal
from ..local import LocalProcessManager
from ..params import SpawnParams
from ..terminal import set_lending
from . import inherited_state
from .command_params import command_params, inherited_numbers
from .init import held_signals
from .outcome import Outcome
from .report import Reporter
from .request import Request
from .supervision import Supervision

if TYPE_CHECKING:
    from .notifying import Notifier

__all__ = ["in_foreground"]


def in_foreground(manager: LocalProcessManager, request: Request, reporter: Reporter) -> Outcome:
    """Runs the command as a tree of ``manager`` and returns when the tree is empty, or released."""
    inherited_state.hold_standard_streams()
    inherited_state.drop_coerced_locale()
    inherited_state.drop_own_handle()
    numbers = inherited_numbers(signal.pthread_sigmask(signal.SIG_BLOCK, ()) - held_signals())
    # If SIGCHLD were ignored, the kernel would reap our own children, and their exits would be lost.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # What is a stop of the tree for others is one of the whole job here, so the terminal is lent by Supervision.
    set_lending(False)
    terminal = Terminal.find()
    # The child takes the terminal before the program runs, so the program never sees itself in the background. It can
    # if its streams lead there.
    takes = terminal is not None and terminal.wanted and terminal.ours
    if terminal is not None and request.foreground:
        terminal.wanted = True
    notifier = _notifier(manager, request, reporter)
    supervision = Supervision(manager, terminal, request, reporter)
    params = command_params(request, numbers, terminal=0 if takes else None, in_session=terminal is not None)
    taken = False
    try:
        outcome = asyncio.run(_supervise(manager, supervision, params))
    finally:
        # Needed even after a failed exec: the child takes the terminal before it tries.
        taken = supervision.return_terminal()
        if notifier is not None:
            notifier.close()
    outcome.in_terminal = taken
    return outcome


def _notifier(manager: LocalProcessManager, request: Request, reporter: Reporter) -> Notifier | None:
    if not request.given.get("notify"):
        return None
    from .notifying import Notifier  # noqa: PLC0415 - most commands need it as little as what it loads

    return Notifier(manager, reporter)


async def _supervise(manager: LocalProcessManager, supervision: Supervision, params: SpawnParams) -> Outcome:
    async with manager:
        outcome = await supervision.run(params)
    if outcome.released is not None:
        return outcome
    # Leaving the manager has emptied the tree. This raises if the guard was lost, so that it cannot be proved.
    await manager.wait_for_exit(outcome.pid)
    outcome.total = await manager.stats(outcome.pid)
    return outcome
