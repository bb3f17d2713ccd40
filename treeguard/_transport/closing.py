"""Descriptors that others sent, or that hold what others sent, closed where nobody waits for it.

The last close of a file can take as long as its owner likes: a socket lingers (SO_LINGER), a file system of FUSE is
asked and need not answer. The same holds for a socket in whose queue such descriptors wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections import deque
from collections.abc import Callable, Sequence

from .._core.worker import Worker

__all__ = ["Closer", "close_elsewhere", "is_plain_pipe", "put_away"]

#: Threads at most. One that closes what never comes to an end is lost to the others.
_THREADS = 4
#: Seconds until it is tried again to begin a thread where none could be had.
_PAUSE = 0.5


class Closer:
    """Closes descriptors in threads of its own, the next in whichever has least to do.

    Where no thread can be had they are kept, and it is tried again: by a loop, if one runs, and whenever more comes.
    """

    def __init__(self, threads: int = _THREADS) -> None:
        self._most = threads
        self._lock = threading.Lock()
        self._lanes: list[_Lane] = []
        self._kept: deque[tuple[Sequence[int], Callable[[], None] | None]] = deque()
        self._trying = False

    def close(self, fds: Sequence[int], done: Callable[[], None] | None = None) -> None:
        """Closes them some time. ``done`` is called then, by any thread; it may not raise."""
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
        """The thread that has least to do; another one where all have something, if one can be had."""
        if all(lane.waiting for lane in self._lanes) and len(self._lanes) < self._most:
            lane = _Lane()
            if lane.worker.begin():
                self._lanes.append(lane)
        return min(self._lanes, key=lambda each: each.waiting, default=None)

    def _hand_to(self, lane: _Lane, fds: Sequence[int], done: Callable[[], None] | None) -> None:
        lane.waiting += 1

        def close() -> None:
            for fd in fds:
                with contextlib.suppress(OSError):  # The file's own; it is closed all the same.
                    os.close(fd)
            with self._lock:
                lane.waiting -= 1
            if done is not None:
                done()

        lane.worker.post(close)

    def _try_later(self) -> None:
        with contextlib.suppress(RuntimeError):  # No loop runs here.
            loop = asyncio.get_running_loop()
            if not self._trying:
                self._trying = True
                loop.call_later(_PAUSE, self._try_again)

    def _try_again(self) -> None:
        self._trying = False
        self._hand_out()


class _Lane:
    """A thread, and how many calls it has before it."""

    def __init__(self) -> None:
        self.worker = Worker("treeguard-closer")
        self.waiting = 0


_closer = Closer()


def close_elsewhere(fds: Sequence[int], done: Callable[[], None] | None = None) -> None:
    """Has these closed by the one closer of this process: see :meth:`Closer.close`."""
    if fds:
        _closer.close(fds, done)


def put_away(sock: socket.socket) -> None:
    """Ends a socket whose queue may hold what others sent, and closes it elsewhere. Again is no error.

    Nothing can be sent to it from now on, and who is at the other end sees that now.
    """
    if sock.fileno() >= 0:
        with contextlib.suppress(OSError):  # The other end has gone already.
            sock.shutdown(socket.SHUT_RDWR)
        close_elsewhere((sock.detach(),))


def is_plain_pipe(fd: int) -> bool:
    """Whether it is a pipe without a name. Its close frees memory, and there is nobody that it could wait for.

    A pipe with a name is on a file system, which may be the sender's own. It is not asked: neither fstat(2) here nor
    whether the name exists. The kernel says what it opened.
    """
    try:
        return os.readlink(f"/proc/self/fd/{fd}").startswith("pipe:[")  # noqa: PTH115 - no path
    except OSError:
        return False


def _after_fork() -> None:
    """The threads are not in the copy, and what they were to close is the original's to close."""
    global _closer  # noqa: PLW0603
    _closer = Closer()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
