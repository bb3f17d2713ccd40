"""Job control: lending the terminal to a command, and stopping and continuing together with it.

For a shell, ``treeguard run`` is the job. The command leads its own group, and only one group at a time may read from a
terminal. So the command gets the terminal when it needs it, and returns it before the shell looks.
"""

from __future__ import annotations

import contextlib
import os
import signal
import termios
from collections.abc import Iterator

__all__ = ["Terminal", "stop_with"]

_STREAMS = range(3)


class Terminal:
    """The controlling terminal of this process, on descriptor ``fd``.

    ``seen``: a standard stream leads to a terminal, so this is probably a shell's job. ``wanted``: the command is to
    have the terminal whenever this job is in the foreground.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        streams = [os.isatty(stream) for stream in _STREAMS]
        self.seen = any(streams)
        self.wanted = all(streams)
        self._group = os.getpgrp()
        self._modes = termios.tcgetattr(fd)

    @classmethod
    def find(cls) -> Terminal | None:
        """The controlling terminal, if there is one."""
        for fd in _STREAMS:
            with contextlib.suppress(OSError, termios.error):
                os.tcgetpgrp(fd)
                return cls(fd)
        with contextlib.suppress(OSError, termios.error):
            # A command may ask the user for a password even if none of its streams leads to the terminal.
            return cls(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
        return None

    @property
    def foreground(self) -> int:
        """The group that may read; -1 once the terminal has been hung up."""
        try:
            return os.tcgetpgrp(self.fd)
        except OSError:
            return -1

    @property
    def ours(self) -> bool:
        """Whether our own group is in the foreground."""
        return self.foreground == self._group

    def lend(self, group: int) -> bool:
        """Gives the terminal to ``group`` if our group has it. Returns whether ``group`` has it now."""
        if self.ours:
            self._put_in_foreground(group)
        return self.foreground == group

    def take_back(self, group: int) -> bool:
        """Takes the terminal from ``group``, or from a group that is gone. Returns whether one of them had it.

        A shell that took it in the meantime keeps it.
        """
        foreground = self.foreground
        if foreground < 0 or foreground == self._group or not (foreground == group or _gone(foreground)):
            return False
        self._put_in_foreground(self._group)
        return True

    def restore_modes(self) -> None:
        """Restores the modes from the start, as a shell does for a command that died of a signal."""
        if self.ours:
            with contextlib.suppress(termios.error), _blocked(signal.SIGTTOU):
                termios.tcsetattr(self.fd, termios.TCSADRAIN, self._modes)

    def _put_in_foreground(self, group: int) -> None:
        # A background group may do this if it blocks SIGTTOU (tcsetpgrp(3)). A hangup or a group that is gone is no
        # error.
        with contextlib.suppress(OSError), _blocked(signal.SIGTTOU):
            os.tcsetpgrp(self.fd, group)


def stop_with(number: int, *, whole_group: bool) -> bool:
    """Stops this process or its whole group by signal ``number``, until another process continues it.

    Returns False if it did not stop. An orphaned group has no process to continue it, so the kernel drops the
    terminal's stop signals for it.
    """
    with _blocked(signal.SIGCONT), _default(number):
        # Both signals reach this thread, the only one, before kill returns. A blocked SIGCONT continues the process and
        # stays pending, which proves that there was a stop.
        os.kill(0 if whole_group else os.getpid(), number)
        return signal.sigtimedwait({signal.SIGCONT}, 0) is not None


def _gone(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


@contextlib.contextmanager
def _blocked(number: int) -> Iterator[None]:
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextlib.contextmanager
def _default(number: int) -> Iterator[None]:
    if number == signal.SIGSTOP:
        yield
        return
    handler = signal.signal(number, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(number, handler)
        signal.siginterrupt(number, False)
