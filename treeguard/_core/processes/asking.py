"""Asking one process to end, so that it hears it: a stopped process handles no signal before SIGCONT."""

from __future__ import annotations

import signal
from collections.abc import Callable

from .procfs import read_file
from .system import get_process, signal_if

__all__ = ["ask_if"]


def ask_if(pid: int, number: int, meant: Callable[[], bool]) -> bool:
    """Signals the process of that number if it is the one ``meant``, and lets it go on if it is stopped.

    A running process gets no SIGCONT, since it may handle that. Returns whether it was signalled.
    """
    if not signal_if(pid, number, meant):
        return False
    # Pending signals come before the state: one that was taken from the queue meanwhile shows in the state.
    stopped = _will_stop(pid) or ((seen := get_process(pid)) is not None and seen.stopped)
    if stopped:
        signal_if(pid, signal.SIGCONT, meant)
    return True


def _will_stop(pid: int) -> bool:
    """Whether a signal is pending that is going to stop the process; only ``/proc`` shows that."""
    try:
        lines = dict(line.split(b":\t", 1) for line in read_file(pid, "status").splitlines() if b":\t" in line)
        pending = int(lines[b"SigPnd"], 16) | int(lines[b"ShdPnd"], 16)
        unheard = int(lines[b"SigBlk"], 16) | int(lines[b"SigIgn"], 16) | int(lines[b"SigCgt"], 16)
    except (OSError, KeyError, ValueError):
        return False
    usual = _bits(signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU) & ~unheard
    return bool(pending & (_bits(signal.SIGSTOP) | usual))


def _bits(*numbers: int) -> int:
    return sum(1 << (number - 1) for number in numbers)
