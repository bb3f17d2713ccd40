"""Ending this process by a signal, as a command ended, so that a shell or make sees what it would have seen."""

from __future__ import annotations

import contextlib
import os
import signal

__all__ = ["die_of"]


def die_of(number: int, *, whole_group: bool = False) -> None:
    """Ends this process, or its whole group, by a signal, without a core dump.

    Returns if it does not end it: as the init of a container it gets no signal that it does not handle.
    """
    import resource  # noqa: PLC0415 - Windows has none

    with contextlib.suppress(OSError, ValueError):
        hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
        # One byte, because the kernel hands even a dump of 0 bytes to the program in core_pattern, but never one of 1
        # byte (do_coredump in fs/coredump.c), and no file is that small.
        resource.setrlimit(resource.RLIMIT_CORE, (hard if hard == 0 else 1, hard))
    with contextlib.suppress(OSError, ValueError):
        signal.signal(number, signal.SIG_DFL)
    with contextlib.suppress(OSError, ValueError):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        if whole_group:
            os.kill(0, number)
        # To this thread: another one may wait for the signal.
        signal.raise_signal(number)
