"""Closes descriptors that other processes sent, or that hold such descriptors, where no other work waits for the close.

The last close of a file can take as long as its owner likes: a socket lingers (SO_LINGER), and a FUSE file system may
never answer. The same holds for a socket with such descriptors in its queue.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections import deque
from collections.abc import Callable, Sequence

from .._core.forks import call_in_copies
from .._core.worker import Worker

__all__ = ["Closer", "close_elsewhere", "is_plain_pipe", "put_away"]

#: The maximum number of threads. A thread that hangs in a close is unavailable for other descriptors.
_THREADS = 4
#: Seconds before the next attempt to start a thread, after none was available.
_PAUSE = 0.5


class Closer:
    """Closes descriptors in threads of its own. The next one goes to the thread with the fewest waiting.

    If no thread is available, it keeps the descriptors and tries again: from a loop if one runs, and on each further
    call.
    """

    def __init__(self, threads: int = _THREADS) -> None:
        self._most = threads
        self._begin()
        call_in_copies(self._begin)

    def _begin(self) -> None:
        """Begins with nothing to do. A forked copy has no threads, and the original process closes what it kept."""
        self._lock = threading.Lock()
        self._lanes: list[_Lane] = []
        self._kept: deque[tuple[Sequence[int], Callable[[], None] | None]] = deque()
        self._trying = False

    def close(self, fds: Sequence[int], done: Callable[[], None] | None = None) -> None:
        """Closes the descriptors some time later. Any thread then calls ``done``, which must not raise."""
        with self._lock:
            self._kept.append((fds, done))
        self._hand_out()

    def _hand_out(self) -> None:
        with self._lock:
            lane = self._lane() if self._kept else None
            while lane is not None:
                self._hand_to(lane, *self._kept.popleft())
                lane = self._lane() if self._kept else None
            short = bool(self._kept)
        if short:
            self._try_later()

    def _lane(self) -> _Lane | None:
        """Returns the least busy thread. Starts another one if all are busy and one is available."""
        if all(lane.waiting for lane in self._lanes) and len(self._lanes) < self._most:
            lane = _Lane()
            if lane.worker.begin():
                self._lanes.append(lane)
        return min(self._lanes, key=lambda each: each.waiting, default=None)

    def _hand_to(self, lane: _Lane, fds: Sequence[int], done: Callable[[], None] | None) -> None:
        lane.waiting += 1

        def close() -> None:
            for fd in fds:
                with contextlib.suppress(OSError):  # The error is the file's own. The descriptor is closed anyway.
                    os.close(fd)
            with self._lock:
                lane.waiting -= 1
            if done is not None:
                done()

        lane.worker.post(close)

    def _try_later(self) -> None:
        with contextlib.suppress(RuntimeError):  # No loop is running here.
            loop = asyncio.get_running_loop()
            if not self._trying:
                self._trying = True
                loop.call_later(_PAUSE, self._try_again)

    def _try_again(self) -> None:
        self._trying = False
        self._hand_out()


class _Lane:
    """A thread, and the number of calls that wait for it."""

    def __init__(self) -> None:
        self.worker = Worker("treeguard-closer")
        self.waiting = 0


_closer = Closer()


def close_elsewhere(fds: Sequence[int], done: Callable[[], None] | None = None) -> None:
    """Closes these descriptors in the threads of this process's one closer: see :meth:`Closer.close`."""
    if fds:
        _closer.close(fds, done)


def put_away(sock: socket.socket) -> None:
    """Shuts down a socket whose queue may hold descriptors, and closes it elsewhere. Calling it again has no effect.

    From now on nothing can be sent to it, and the other end sees that at once.
    """
    if sock.fileno() >= 0:
        with contextlib.suppress(OSError):  # The other end is already gone.
            sock.shutdown(socket.SHUT_RDWR)
        close_elsewhere((sock.detach(),))


def is_plain_pipe(fd: int) -> bool:
    """Returns whether this is a pipe without a name. Closing one only frees memory and never waits.

    A named pipe is on a file system, which may be the sender's own. So this does not ask the file system, neither with
    fstat(2) nor whether the name exists. It uses the kernel's record of what it opened.
    """
    try:
        return os.readlink(f"/proc/self/fd/{fd}").startswith("pipe:[")  # noqa: PTH115 - no path
    except OSError:
        return False
