"""The parameters of a command: what it has as its stand-in has it, and other children never have."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable

from ..params import SpawnParams

__all__ = ["CommandParams", "inherited_numbers", "managers_variables"]

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
