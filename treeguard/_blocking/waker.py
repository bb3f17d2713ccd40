"""Ending the poll(2) that another thread is in."""

from __future__ import annotations

import contextlib
import os

from .._core.native import Descriptor
from .._core.native_descriptors import open_waker

__all__ = ["Waker"]


class Waker:
    """A descriptor that another thread polls, and that becomes readable when it is to look up."""

    def __init__(self) -> None:
        """Raises OSError."""
        self._reader, self._writer = Descriptor(), Descriptor()
        open_waker(self._reader, self._writer)

    def fileno(self) -> int:
        """The descriptor to poll; -1 once it is closed."""
        return self._reader.number

    def wake(self) -> None:
        """Makes it readable. One that is closed is no error."""
        fd = self._reader.number if self._writer.number < 0 else self._writer.number
        with contextlib.suppress(BlockingIOError):
            if fd >= 0:
                os.write(fd, b"\1\0\0\0\0\0\0\0")

    def clear(self) -> None:
        """Makes it unreadable again."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._reader.number, 4096)

    def close(self) -> None:
        """Closes it. Again is no error."""
        self._writer.close()
        self._reader.close()
