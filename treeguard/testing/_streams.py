"""A scripted process's ends of its standard streams: duplicates of the descriptors that a real one would inherit."""

from __future__ import annotations

import contextlib
import os
import select
import stat
from collections import deque
from collections.abc import Callable
from typing import Any

from ._stage import Stage

__all__ = ["ChildStreams"]

#: Where poll(2) says that there is room, so much can be written without waiting (PIPE_BUF of POSIX is at least 512).
_CHUNK = getattr(select, "PIPE_BUF", 4096)
#: How much is written or read in one turn, in chunks.
_CHUNKS = 64


class ChildStreams:
    """The streams of one tree. Each of them is open as long as a process of the tree holds it."""

    def __init__(self, stage: Stage, stdio: tuple[int, int, int]) -> None:
        """``stdio`` are descriptors of this process, -1 for the null device. Raises OSError."""
        self._stage = stage
        self._fds: dict[int, int] = {}
        self._queue: deque[tuple[int, bytes, Callable[[], None]]] = deque()
        self._broken: Callable[[], None] | None = None
        try:
            for number, fd in enumerate(stdio):
                if fd >= 0:
                    with contextlib.suppress(OSError):  # this process has no such stream itself
                        self._fds[number] = os.dup(fd)
        except BaseException:
            self.close()
            raise

    def identity(self, number: int) -> str | None:
        """What ``/proc`` calls a stream; None if it is closed."""
        fd = self._fds.get(number)
        return None if fd is None else f"pipe:[{os.fstat(fd).st_ino}]"

    # Writing.

    def write(self, number: int, data: bytes, done: Callable[[], None], broken: Callable[[], None]) -> None:
        """Writes to a stream and calls ``done``, or ``broken`` when nobody can read it any more."""
        self._broken = broken
        self._queue.append((number, data, done))
        if len(self._queue) == 1:
            self._write_on()

    def _write_on(self) -> None:
        for _ in range(_CHUNKS):
            if not self._queue:
                return
            number, data, done = self._queue[0]
            fd = self._fds.get(number)
            if fd is None or not data:
                self._queue.popleft()
                done()
                continue
            if not _has_room(fd):
                self._stage.when_writable(fd, self._write_on)
                return
            try:
                written = os.write(fd, data[:_CHUNK])
            except BlockingIOError:
                self._stage.when_writable(fd, self._write_on)
                return
            except OSError:
                self._queue.clear()
                if self._broken is not None:
                    self._broken()
                return
            if self._queue:
                self._queue[0] = (number, data[written:], done)
        self._stage.later(0.0, self._write_on)

    # Reading.

    def read(self, take: Callable[[bytes], None]) -> None:
        """Calls ``take`` with all that arrives on standard input, and at its end with nothing."""
        fd = self._fds.get(0)
        if fd is None:
            take(b"")
        elif stat.S_ISREG(os.fstat(fd).st_mode):  # which is never waited for, and no loop watches it
            while data := os.read(fd, 1 << 16):
                take(data)
            take(b"")
        else:
            self._stage.when_readable(fd, lambda: self._read_on(fd, take))

    def _read_on(self, fd: int, take: Callable[[bytes], None]) -> None:
        try:
            data = os.read(fd, 1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close(0)
        take(data)

    @property
    def has_input(self) -> bool:
        """Whether standard input is a pipe or a socket, of which nothing but the child can read."""
        fd = self._fds.get(0)
        mode = 0 if fd is None else os.fstat(fd).st_mode
        return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)

    # Closing.

    def close(self, *, outputs: bool = True) -> None:
        """Closes standard input, and with ``outputs`` the others too. Again is no error."""
        self._queue.clear()
        self._close(0)
        for number in (1, 2) if outputs else ():
            self._close(number)

    def forked(self) -> None:
        """Closes a forked copy's descriptors. The loop is the original's, and its epoll descriptor is shared."""
        self._queue.clear()
        while self._fds:
            os.close(self._fds.popitem()[1])

    def _close(self, number: int) -> None:
        fd = self._fds.pop(number, None)
        if fd is not None:
            self._stage.forget(fd)
            os.close(fd)


def _has_room(fd: int) -> bool:
    """Whether a write does not wait. A pipe that nobody reads has room for the error."""
    make: Any = getattr(select, "poll", None)
    if make is None:  # Windows
        return True
    poller = make()
    poller.register(fd, select.POLLOUT)
    return bool(poller.poll(0))
