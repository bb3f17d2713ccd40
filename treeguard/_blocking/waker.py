"""Ending the poll(2) that another thread is in."""

from __future__ import annotations

import contextlib
import os
import sys

if sys.platform != "win32":
    import fcntl

__all__ = ["Waker"]

_STREAMS = 3


class Waker:
    """A descriptor that another thread polls, and that becomes readable when it is to look up."""

    def __init__(self) -> None:
        if hasattr(os, "eventfd"):
            self._ends = (_above_standard(os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)),) * 2
        else:
            reader, writer = os.pipe()
            self._ends = (_above_standard(reader), _above_standard(writer))
            os.set_blocking(self._ends[0], False)
            os.set_blocking(self._ends[1], False)

    def fileno(self) -> int:
        """The descriptor to poll."""
        return self._ends[0]

    def wake(self) -> None:
        """Makes it readable. One that is closed is no error."""
        with contextlib.suppress(BlockingIOError):
            if self._ends[1] >= 0:
                os.write(self._ends[1], b"\1\0\0\0\0\0\0\0")

    def clear(self) -> None:
        """Makes it unreadable again."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._ends[0], 4096)

    def close(self) -> None:
        """Closes it. Again is no error."""
        ends, self._ends = self._ends, (-1, -1)
        for fd in set(ends) - {-1}:
            os.close(fd)


def _above_standard(fd: int) -> int:
    """The same file under a number above the standard streams: a child would get it for one that this host closed."""
    if fd >= _STREAMS:
        return fd
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _STREAMS)
    finally:
        os.close(fd)
