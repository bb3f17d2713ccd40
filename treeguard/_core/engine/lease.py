"""The supervisor's proof that it is not merely alive but working: a stamp that all guards of a manager look at."""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import os
import sys
import tempfile
import time
from collections.abc import Callable

from ..native import Descriptor

__all__ = ["Lease"]

#: The stamp is renewed so many times in the time that it holds: a loop that is late once is not yet too late.
_RENEWALS = 4
#: Seals of a memfd (fcntl(2), F_ADD_SEALS; the last one since Linux 5.1). Python knows only some of them everywhere.
_SEAL_SHRINK, _SEAL_GROW, _SEAL_FUTURE_WRITE = 0x2, 0x4, 0x10


class Lease:
    """A page shared with guards, stamped by a timer of the event loop: one write for all trees.

    The clock is CLOCK_MONOTONIC, which stands still while the machine is suspended. A loop that does not come round for
    ``seconds``, because the process is stopped or a callback hangs, loses its trees.
    """

    def __init__(self, seconds: float, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._interval = seconds / _RENEWALS
        self._clock = clock
        self._timer: asyncio.TimerHandle | None = None
        self.milliseconds = max(1, int(seconds * 1000))
        self._file = _page()
        self.fd = self._file.number
        try:
            self._page = mmap.mmap(self.fd, mmap.PAGESIZE)
        except BaseException:
            self._file.close()
            raise
        _seal(self.fd, _SEAL_FUTURE_WRITE)
        self._stamp = memoryview(self._page).cast("q")
        self.renew()

    def renew(self) -> None:
        """Stamps."""
        self._stamp[0] = self._clock()

    def keep(self, loop: asyncio.AbstractEventLoop) -> None:
        """Renews from now on as long as ``loop`` runs."""
        # The next time first: an exception of a signal's handler may end this anywhere.
        timer, self._timer = self._timer, loop.call_later(self._interval, self.keep, loop)
        self.renew()
        if timer is not None:
            timer.cancel()

    def stop(self) -> None:
        """No longer renews."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def close(self) -> None:
        """Lets go of the page. Again is no error, and has no effect."""
        self.stop()
        self._stamp.release()
        self._page.close()
        self._file.close()
        self.fd = -1


def _page() -> Descriptor:
    """A file of one page that has no name.

    Where a filter forbids memfd_create (Linux 3.17, FreeBSD 13), or a system has none (macOS), a temporary one serves.
    """
    file = Descriptor()
    try:
        file.memory("treeguard-lease")
    except OSError:
        with tempfile.TemporaryFile() as temporary:
            file.copy(temporary.fileno())
    try:
        # Not ftruncate: on a full file system the page would be missed when it is written to, by a signal.
        _fill(file.number, mmap.PAGESIZE)
        _seal(file.number, _SEAL_SHRINK | _SEAL_GROW)
    except BaseException:
        file.close()
        raise
    return file


def _seal(fd: int, seals: int) -> None:
    """Seals a memfd against processes of the same user, which can open this one's descriptors.

    They could cut the page off under the guards that look at it, or stamp it themselves. A temporary file has no seals,
    and a kernel may not know one of them.
    """
    if sys.platform == "linux":
        import fcntl  # noqa: PLC0415 - there is none on Windows, where this module is imported too

        with contextlib.suppress(OSError):
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)


def _fill(fd: int, size: int) -> None:
    try:
        os.posix_fallocate(fd, 0, size)
    except AttributeError:  # macOS
        os.pwrite(fd, bytes(size), 0)
