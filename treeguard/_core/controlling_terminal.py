"""The controlling terminal of this process: which group has it, and giving it to another."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import termios
from collections.abc import Iterator
from typing import Any, NamedTuple

from .native import Descriptor

__all__ = ["Settings", "Terminal", "blocked", "is_gone"]

_STREAMS = range(3)


class Settings(NamedTuple):
    """What a command may leave changed: the terminal's modes, and O_NONBLOCK of the standard streams that lead to it.

    The streams of a command are those of this process, so that flag is shared with it.
    """

    modes: list[Any]
    nonblocking: dict[int, int]


class Terminal:
    """The controlling terminal of this process, on descriptor ``fd``."""

    def __init__(self, fd: int, own: Descriptor | None = None) -> None:
        """``own``: the descriptor, unless it is that of a standard stream."""
        self.fd = fd
        self._streams = [stream for stream in _STREAMS if os.isatty(stream)]
        self._own = own
        #: Whether a standard stream leads to a terminal, so that this is probably a shell's job.
        self.seen = bool(self._streams)
        #: Whether a command is to have the terminal whenever this process is in the foreground.
        self.wanted = len(self._streams) == len(_STREAMS)

    @classmethod
    def find(cls) -> Terminal | None:
        """The controlling terminal, if there is one."""
        with contextlib.suppress(OSError, termios.error):
            # A command may ask the user for a password even if none of its streams leads to the terminal. A host may
            # put another file in the place of a stream later.
            own = Descriptor()
            own.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
            return cls(own.number, own)
        for fd in _STREAMS:
            with contextlib.suppress(OSError, termios.error):
                os.tcgetpgrp(fd)
                return cls(fd)
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
        return self.foreground == os.getpgrp()

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
        if foreground < 0 or foreground == os.getpgrp() or not (foreground == group or is_gone(foreground)):
            return False
        self._put_in_foreground(os.getpgrp())
        return True

    def settings(self) -> Settings | None:
        """The present settings; None once the terminal has been hung up."""
        with contextlib.suppress(OSError, termios.error):
            flags = {fd: fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK for fd in self._streams}
            return Settings(termios.tcgetattr(self.fd), flags)
        return None

    def restore(self, settings: Settings | None) -> None:
        """Restores settings, as a shell does for a command that died of a signal; not if another group has it now."""
        if settings is None or not self.ours:
            return
        with contextlib.suppress(OSError, termios.error), blocked(signal.SIGTTOU):
            termios.tcsetattr(self.fd, termios.TCSADRAIN, settings.modes)
        for fd, nonblocking in settings.nonblocking.items():
            with contextlib.suppress(OSError):
                flags = fcntl.fcntl(fd, fcntl.F_GETFL)
                if flags & os.O_NONBLOCK != nonblocking and os.isatty(fd):
                    fcntl.fcntl(fd, fcntl.F_SETFL, flags ^ os.O_NONBLOCK)

    def close(self) -> None:
        """Closes its descriptor, unless that is a standard stream."""
        if self._own is not None:
            self._own.close()

    def _put_in_foreground(self, group: int) -> None:
        # A background group may do this if it blocks SIGTTOU (tcsetpgrp(3)). A hangup or a group that is gone is no
        # error.
        with contextlib.suppress(OSError), blocked(signal.SIGTTOU):
            os.tcsetpgrp(self.fd, group)


def is_gone(group: int) -> bool:
    """Whether a process group has no members, zombies included."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


@contextlib.contextmanager
def blocked(number: int) -> Iterator[None]:
    """Blocks a signal in this thread."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
