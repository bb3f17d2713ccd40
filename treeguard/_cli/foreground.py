"""Running a command in the foreground, with everything that ``treeguard run`` has inherited."""

from __future__ import annotations

import asyncio
import os
import signal

from .._core.controlling_terminal import Terminal
from ..local import LocalProcessManager
from ..params import SpawnParams
from ..terminal import set_lending
from . import inherited_state
from .command_params import CommandParams, inherited_numbers, managers_variables
from .outcome import Outcome
from .patience import Patience
from .supervision import Supervision

__all__ = ["in_foreground"]


def in_foreground(manager: LocalProcessManager, command: list[str], patience: Patience) -> Outcome:
    """Runs the command as a tree of ``manager`` and returns when the tree is empty."""
    inherited_state.hold_standard_streams()
    inherited_state.drop_coerced_locale()
    numbers = inherited_numbers(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
    # If SIGCHLD were ignored, the kernel would reap our own children, and their exits would be lost.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # What is a stop of the tree for others is one of the whole job here, so the terminal is lent by Supervision.
    set_lending(False)
    terminal = Terminal.find()
    settings = None if terminal is None else terminal.settings()
    group = 0
    try:
        supervision = Supervision(manager, terminal, patience)
        outcome = asyncio.run(_supervise(manager, supervision, _params(command, terminal, numbers)))
        group = outcome.group
    finally:
        # Needed even after a failed exec: the child takes the terminal before it tries.
        taken = terminal is not None and terminal.take_back(group)
    outcome.in_terminal = taken
    if terminal is not None and outcome.exit is not None and outcome.exit.signal is not None:
        terminal.restore(settings)
    return outcome


def _params(command: list[str], terminal: Terminal | None, numbers: dict[str, int]) -> SpawnParams:
    return CommandParams(
        program=command[0],
        args=tuple(command[1:]),
        stdin="inherit",
        env=managers_variables(),
        # Numbers are looked at for a root that has some attribute otherwise.
        umask=_umask() if numbers else None,
        numbers=tuple(numbers.items()),
        pass_fds=inherited_state.extra_descriptors(),
        ignore_signals=inherited_state.ignored_signals(),
        # A shell's job stays in its session, since the terminal may be lent to it later.
        new_session=None if terminal is None else False,
        # The child takes the terminal before the program runs, so the program never sees itself in the background.
        terminal=0 if terminal is not None and terminal.wanted and terminal.ours else None,
    )


def _umask() -> int:
    os.umask(mask := os.umask(0o077))
    return mask


async def _supervise(manager: LocalProcessManager, supervision: Supervision, params: SpawnParams) -> Outcome:
    async with manager:
        outcome = await supervision.run(params)
    # Leaving the manager has emptied the tree. This raises if the guard was lost, so that it cannot be proved.
    await manager.wait_for_exit(outcome.pid)
    return outcome
