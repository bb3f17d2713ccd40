"""The supervisor's proof that it is working, not merely alive: a time stamp that all guards of a manager read."""

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
from ..native_descriptors import open_memory

__all__ = ["Lease"]

#: How often the stamp is renewed in the time that it is valid. One late turn of the loop does not end the lease yet.
_RENEWALS = 4
#: Seals of a memfd (fcntl(2), F_ADD_SEALS; the last one since Linux 5.1). Some Python versions know only some of them.
_SEAL_SHRINK, _SEAL_GROW, _SEAL_FUTURE_WRITE = 0x2, 0x4, 0x10


class Lease:
    """A page shared with the guards. A timer of the event loop stamps it, with one write for all trees.

    The clock is CLOCK_MONOTONIC, which stands still while the machine is suspended. If the loop does not turn for
    ``seconds``, because the process is stopped or a callback hangs, the process loses its trees.
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
        """Stamps the page with the current time."""
        self._stamp[0] = self._clock()

    def keep(self, loop: asyncio.AbstractEventLoop) -> None:
        """Renews the lease from now on, as long as ``loop`` runs."""
        # Schedule the next renewal first: an exception of a signal handler may end this method anywhere.
        timer, self._timer = self._timer, loop.call_later(self._interval, self.keep, loop)
        self.renew()
        if timer is not None:
            timer.cancel()

    def stop(self) -> None:
        """Stops renewing the lease."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def close(self) -> None:
        """Releases the page. Calling it again has no effect."""
        self.stop()
        self._stamp.release()
        self._page.close()
        self._file.close()
        self.fd = -1


def _page() -> Descriptor:
    """A file of one page without a name.

    A temporary file is used where a filter forbids memfd_create (Linux 3.17, FreeBSD 13), or the system has none
    (macOS).
    """
    file = Descriptor()
    try:
        open_memory(file, "treeguard-lease")
    except OSError:
        with tempfile.TemporaryFile() as temporary:
            file.copy(temporary.fileno())
    try:
        # ftruncate would allocate nothing: on a full file system, a later write to the page would raise SIGBUS.
        _fill(file.number, mmap.PAGESIZE)
        _seal(file.number, _SEAL_SHRINK | _SEAL_GROW)
    except BaseException:
        file.close()
        raise
    return file


def _seal(fd: int, seals: int) -> None:
    """Seals a memfd against processes of the same user, which can open this process's descriptors.

    They could truncate the page while guards read it, or stamp it themselves. A temporary file has no seals, and a
    kernel may not know every seal.
    """
    if sys.platform == "linux":
        import fcntl

        with contextlib.suppress(OSError):
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)


def _fill(fd: int, size: int) -> None:
    try:
        os.posix_fallocate(fd, 0, size)
    except AttributeError:  # macOS
        os.pwrite(fd, bytes(size), 0)
