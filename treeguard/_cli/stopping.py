"""Job control: stopping together with a command.

For a shell, ``treeguard run`` is the job. So it stops when the command stops, and the shell continues both.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator

from .._core.controlling_terminal import blocked

__all__ = ["stop_with"]


def stop_with(number: int, *, whole_group: bool) -> bool:
    """Stops this process or its whole group by signal ``number``, until another process continues it.

    Returns False if it did not stop. An orphaned group has no process to continue it, so the kernel drops the
    terminal's stop signals for it.
    """
    with blocked(signal.SIGCONT), _default(number):
        # Both signals reach this thread, the only one, before kill returns. A blocked SIGCONT continues the process and
        # stays pending, which proves that there was a stop.
        os.kill(0 if whole_group else os.getpid(), number)
        return signal.sigtimedwait({signal.SIGCONT}, 0) is not None


@contextlib.contextmanager
def _default(number: int) -> Iterator[None]:
    if number == signal.SIGSTOP:
        yield
        return
    handler = signal.signal(number, signal.SIG_DFL)
    mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(number, handler)
        signal.siginterrupt(number, False)
