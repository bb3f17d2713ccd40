"""What the terminal's keys send to a tree that has the terminal, and the supervisor's share of it."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import socket
import sys
import time

from . import native

__all__ = ["Relay"]

#: How long the relay may take to end, in seconds, and the pause between looks. It takes less than a millisecond.
_PATIENCE, _PAUSE = 1.0, 0.0005


class Relay:
    """A small process in a tree's group, which sends the terminal's signals on to our own group (``csrc/relay.h``).

    The kernel sends them to the foreground group only. :mod:`subprocess` leaves its children in the supervisor's group,
    so that both get them. The relay does so without this process, which may be busy in any of its threads. It is our
    child, and no part of the tree: it is in no leaf, and no descendant of a guard.
    """

    def __init__(self) -> None:
        self._pid = 0
        self._socket: socket.socket | None = None
        self._heard: set[int] = set()

    def begin(self, group: int) -> bool:
        """Starts it, before the group gets the terminal. Returns whether there is one.

        Only Linux tells a terminal's signals from those of other processes. Elsewhere the tree alone gets them.
        """
        if sys.platform != "linux":
            return False
        # Without the group, too few descriptors or processes there is none.
        with contextlib.suppress(OSError):
            self._socket, theirs = socket.socketpair()
            self._socket.setblocking(False)
            with theirs:
                self._pid = os.posix_spawn(
                    native.GUARD,
                    [native.GUARD, "relay", str(os.getpgrp())],
                    {},
                    file_actions=[(os.POSIX_SPAWN_DUP2, theirs.fileno(), 0)],
                    setpgroup=group,
                    # From the start, so that it loses no signal that comes before it is ready, and dies of none.
                    setsigmask=signal.valid_signals(),
                )
        return self._pid > 0

    @property
    def begun(self) -> bool:
        """Whether there is such a process."""
        return self._pid > 0

    def heard(self, number: int) -> bool:
        """Whether the tree got that signal from the terminal since the last call."""
        self._hear()
        heard = number in self._heard
        self._heard.discard(number)
        return heard

    def _hear(self) -> None:
        with contextlib.suppress(OSError):
            while self._socket is not None and (told := self._socket.recv(64)):
                self._heard.update(told)

    def wake(self) -> None:
        """Continues it, after the whole group was stopped by SIGSTOP."""
        self._signal(signal.SIGCONT)

    def end(self) -> None:
        """Ends it, after it has sent on what came before. Calling it again has no effect."""
        if self._pid and self._socket is not None:
            self.wake()
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_WR)
            self._reap(_PATIENCE)
        if self._pid:
            self._signal(signal.SIGKILL)
            self._reap(math.inf)
        self._hear()
        self.close()

    def close(self) -> None:
        """Closes the socket, which is all that a forked copy may do."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _reap(self, seconds: float) -> None:
        """Waits for its end, for so long."""
        last = time.monotonic() + seconds
        try:
            while os.waitpid(self._pid, os.WNOHANG)[0] == 0:
                if time.monotonic() >= last:
                    return
                time.sleep(_PAUSE)
        except ChildProcessError:  # something else in this process has reaped it
            pass
        self._pid = 0

    def _signal(self, number: int) -> None:
        with contextlib.suppress(OSError):
            # The same, and then its number may be another's.
            if self._pid and os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                os.kill(self._pid, number)
