"""The parameters of a command: what it has as its stand-in has it, and other children never have."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable, Mapping

from ..params import SpawnParams
from . import inherited_state
from .request import Request

__all__ = ["CommandParams", "command_params", "inherited_numbers"]

#: Variables by which a service manager tells a process that others are meant for it: sd_listen_fds(3),
#: sd_watchdog_enabled(3), systemd.exec(5).
_NAME_A_PROCESS = ("LISTEN_PID", "WATCHDOG_PID", "SYSTEMD_EXEC_PID")
#: Those by which the service speaks to its manager: sd_notify(3). Children do not inherit them.
_OF_A_MANAGER = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC")
#: Room for any process id.
_PLACE = "#" * 20


class CommandParams(SpawnParams, frozen=True):
    """``numbers`` are further members of ``struct tg_attributes`` in csrc/treeguard.h."""

    numbers: tuple[tuple[str, int], ...] = ()


def command_params(
    request: Request, numbers: Mapping[str, int], *, terminal: int | None, in_session: bool
) -> SpawnParams:
    """The parameters of the command that was asked for.

    ``numbers`` are those of :func:`inherited_numbers`. ``terminal`` is the standard stream whose terminal it takes.
    ``in_session``: it may be lent the terminal later.
    """
    for name in request.unset:
        os.environ.pop(name, None)
    given = dict(request.given)
    env = {**({} if given.get("clear_env") else managers_variables()), **given.pop("env", {})}
    if numbers:
        # Numbers are looked at for a root that has some attribute otherwise.
        given.setdefault("umask", _umask())
    return CommandParams(
        program=request.command[0],
        args=request.command[1:],
        stdin="inherit",
        env=env,
        numbers=tuple(numbers.items()),
        pass_fds=inherited_state.extra_descriptors(),
        ignore_signals=inherited_state.ignored_signals(),
        # A shell's job stays in its session, since the terminal may be lent to it later.
        new_session=False if in_session else None,
        terminal=terminal,
        **given,
    )


def _umask() -> int:
    os.umask(mask := os.umask(0o077))
    return mask


def named_process() -> dict[str, str]:
    """The variables that name this process. The command is the one that is meant, and puts its own process id in."""
    own = str(os.getpid())
    return {name: _PLACE for name in _NAME_A_PROCESS if os.environ.get(name) == own}


def managers_variables() -> dict[str, str]:
    """All by which a service manager speaks to its service, which other children do not inherit."""
    return {**{name: os.environ[name] for name in _OF_A_MANAGER if name in os.environ}, **named_process()}


def inherited_numbers(mask: Iterable[int]) -> dict[str, int]:
    """What the command gets besides: the signals that were blocked, an ignored SIGCHLD, its own process id."""
    numbers = {}
    if blocked := sum(1 << number - 1 for number in mask):
        numbers["blocked"] = blocked
    if sys.platform != "win32" and signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:
        numbers["ignore_child"] = 1
    if named_process():
        numbers["own_pid"] = len(_PLACE)
    return numbers
