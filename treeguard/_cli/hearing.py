"""The signals that are sent to ``treeguard run`` and are its command's."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable

__all__ = ["HANDED_ON", "hear"]

#: All that a process can catch, but SIGCHLD, which tells of this process's own children. The C library keeps two
#: signals for itself.
HANDED_ON = frozenset(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}

#: These are sent by the kernel, too: for a fault, for a write that fails, for the use of the terminal from the
#: background. The system call or the instruction is repeated after a handler, and so is the signal. While the signal is
#: blocked, a fault kills this process, and a write fails or succeeds.
_BLOCKED = HANDED_ON & {
    *(signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGSYS),
    *(signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTTIN, signal.SIGTTOU),
}


def hear(heard: Callable[[int], None], ignored: frozenset[int]) -> None:
    """Calls ``heard`` on the running loop once for each signal that comes from now on, but not for ``ignored`` ones."""
    loop = asyncio.get_running_loop()
    blocked = _BLOCKED - ignored
    # The waiting thread blocks all signals, so that the others reach the main thread.
    signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
    try:
        threading.Thread(target=_wait, args=(loop, blocked, heard), name="signals", daemon=True).start()
        for number in blocked & {signal.SIGPIPE, signal.SIGXFSZ}:
            # The interpreter ignores them, and some systems drop what is ignored even while it is blocked.
            signal.signal(number, signal.SIG_DFL)
        for number in HANDED_ON - _BLOCKED - ignored:
            with contextlib.suppress(RuntimeError):  # reserved by the system
                loop.add_signal_handler(number, heard, number)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _wait(loop: asyncio.AbstractEventLoop, numbers: frozenset[int], heard: Callable[[int], None]) -> None:
    """Hands each of these signals to the loop, until it is closed. What this process itself has caused is dropped."""
    own = os.getpid()
    while True:
        if sys.platform == "darwin":
            number: int = signal.sigwait(numbers)
        else:
            told = signal.sigwaitinfo(numbers)
            number = told.si_signo
            if told.si_pid == own:
                continue
        try:
            loop.call_soon_threadsafe(heard, number)
        except RuntimeError:
            return
