"""Connections over Windows named pipes with overlapped input and output, so that a read does not block a write.

An end consists of a handle, at most one read and one write under way, and the events that report their completion. An
operation belongs to the thread that started it: Windows cancels it when that thread ends.
"""

from __future__ import annotations

import contextlib
import math
import sys
import threading
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

from .._core.poll_thread import PollThread
from .abc import Line, Transport

if TYPE_CHECKING:
    import asyncio

# The standard library uses these modules for the same purpose: multiprocessing.connection, asyncio.windows_events.
assert sys.platform == "win32"
import _overlapped  # type: ignore[import-not-found]  # noqa: E402 - Windows only
import _winapi  # noqa: E402 - Windows only
import msvcrt  # noqa: E402 - Windows only

__all__ = [
    "CHUNK",
    "End",
    "Waits",
    "cancel",
    "connected",
    "copied",
    "has_ended",
    "inherited",
    "line_on",
    "opened",
    "transport_on",
]

#: Bytes that are read or written at once.
CHUNK = 64 * 1024
#: The longest finite wait, in milliseconds.
_LONGEST = 0xFFFFFFFE
#: Seconds for which a client keeps trying to connect, and milliseconds between two attempts.
_CROWDED = 10.0
_A_WHILE = 100
_FILE_TYPE_PIPE = 3
_BUSY = 231  # ERROR_PIPE_BUSY
#: ERROR_BROKEN_PIPE, ERROR_NO_DATA, ERROR_PIPE_NOT_CONNECTED: the other end is closed or closing.
_CLOSED = (109, 232, 233)
#: The server may identify this client but not impersonate it (SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION).
_NO_IMPERSONATION = 0x00110000


class Waits:
    """An object whose events a thread waits for until it is woken."""

    def __init__(self) -> None:
        self._waking = threading.Lock()
        self._wake: int | None = _overlapped.CreateEvent(None, True, False, None)

    def events(self) -> list[_winapi.Overlapped]:
        """Returns the operations that are under way and waited for now."""
        raise NotImplementedError

    def wait(self, timeout: float | None) -> bool:
        """See :class:`~treeguard._core.poll_thread.Pollable`. Only one thread may wait at a time."""
        with self._waking:
            wake = self._wake
        if wake is None:
            return False
        # This list keeps each operation, and so its event, alive during the wait, whatever other threads do with it.
        under_way = self.events()
        milliseconds = _winapi.INFINITE if timeout is None else math.ceil(min(timeout * 1000, _LONGEST))
        events = [wake, *(each.event for each in under_way)]
        told = _winapi.WaitForMultipleObjects(events, False, milliseconds)
        if told == _winapi.WAIT_OBJECT_0:
            _overlapped.ResetEvent(wake)
        return told != _winapi.WAIT_TIMEOUT

    def wake(self) -> None:
        """Ends the wait."""
        with self._waking:
            if self._wake is not None:
                _overlapped.SetEvent(self._wake)

    def close(self) -> None:
        """Closes the wake event. No thread may wait afterwards. Calling it again has no effect."""
        with self._waking:
            wake, self._wake = self._wake, None
        if wake is not None:
            _winapi.CloseHandle(wake)


class _UnderWay:
    """The read and the write under way, whether reading has finished, and the error if it failed."""

    def __init__(self) -> None:
        self.incoming: _winapi.Overlapped | None = None
        self.outgoing: _winapi.Overlapped | None = None
        self.finished = False
        self.failed: OSError | None = None

    def end(self) -> None:
        """Cancels both, so that Windows writes into no buffer afterwards.

        Called before the end is closed or forgotten, or before this process ends.
        """
        self.finished = True
        for each in (self.incoming, self.outgoing):
            if each is not None:
                cancel(each)


class End(Waits):
    """One end of a pipe. A thread waits for its wanted operations."""

    def __init__(self, handle: int) -> None:
        """Takes over the handle, which must be overlapped."""
        super().__init__()
        self._handle: int | None = handle
        self._io = _UnderWay()
        self._end_io = weakref.finalize(self, self._io.end)
        self.reading = self.writing = False

    def wait(self, timeout: float | None) -> bool:
        """See :meth:`Waits.wait`. Once the end of the data has been seen, this always returns at once."""
        return (self.reading and self._io.finished) or super().wait(timeout)

    def events(self) -> list[_winapi.Overlapped]:
        """Returns the operations under way in the wanted directions."""
        wanted = (self._io.incoming if self.reading else None, self._io.outgoing if self.writing else None)
        return [each for each in wanted if each is not None]

    @property
    def readable(self) -> bool:
        """Whether there is data, the end, or an error to read."""
        self.read_ahead()
        return self._io.finished or (self._io.incoming is not None and has_ended(self._io.incoming))

    @property
    def writable(self) -> bool:
        """Whether there is room to write."""
        return self._io.outgoing is None or has_ended(self._io.outgoing)

    def read(self) -> bytes | None:
        """See :meth:`Transport.read`."""
        if not self.readable:
            return None
        done, self._io.incoming = self._io.incoming, None
        if done is None:
            if self._io.failed is not None:
                raise self._io.failed
            return b""
        try:
            _, error = done.GetOverlappedResult(False)
        except OSError as e:
            if e.winerror not in _CLOSED:
                raise
            self._io.finished = True
            return b""
        # The read was aborted because its thread ended. A write of no bytes is not the end either.
        return (None if error == _winapi.ERROR_OPERATION_ABORTED else done.getbuffer()) or None

    def read_ahead(self) -> None:
        """Starts a read, unless one is under way or the end has been seen."""
        if self._io.incoming is not None or self._io.finished:
            return
        try:
            self._io.incoming, _ = _winapi.ReadFile(self._opened, CHUNK, overlapped=True)
        except OSError as e:
            self._io.finished = True
            self._io.failed = None if e.winerror in _CLOSED else e

    @property
    def waiting(self) -> int:
        """How many bytes are in the pipe, besides those that a read under way has taken."""
        try:
            return int(_winapi.PeekNamedPipe(self._opened, 0)[0])
        except OSError:  # it has ended
            return 0

    def write(self, data: bytearray | memoryview) -> int:
        """See :meth:`Transport.write`. Accepted data stays under way until the pipe has room for it."""
        if not self.writable:
            return 0
        self.finish_writing()
        piece = bytes(data[:CHUNK])
        try:
            self._io.outgoing, _ = _winapi.WriteFile(self._opened, piece, overlapped=True)
        except OSError as e:
            raise _as_broken(e) from e
        return len(piece)

    def finish_writing(self) -> None:
        """Waits until the accepted data is in the pipe."""
        outgoing, self._io.outgoing = self._io.outgoing, None
        if outgoing is None:
            return
        try:
            _, error = outgoing.GetOverlappedResult(True)
        except OSError as e:
            raise _as_broken(e) from e
        if error == _winapi.ERROR_OPERATION_ABORTED:
            raise BrokenPipeError(0, "the thread that wrote has ended")

    @property
    def _opened(self) -> int:
        if self._handle is None:
            raise BrokenPipeError(0, "it has been closed")
        return self._handle

    def close(self) -> None:
        """Closes the handle. The other end can still read the data in the pipe."""
        handle, self._handle = self._handle, None
        if handle is not None:
            self._end_io()
            super().close()
            _winapi.CloseHandle(handle)


def has_ended(under_way: _winapi.Overlapped) -> bool:
    """Returns whether the operation has completed. Does not fetch its result, which may be an error."""
    return _winapi.WaitForSingleObject(under_way.event, 0) == _winapi.WAIT_OBJECT_0


def cancel(under_way: _winapi.Overlapped) -> None:
    """Cancels the operation, whether or not it has completed."""
    with contextlib.suppress(OSError):  # The operation failed on its own.
        under_way.cancel()
        under_way.GetOverlappedResult(True)


def _as_broken(error: OSError) -> OSError:
    return BrokenPipeError(error.errno, error.strerror) if error.winerror in _CLOSED else error


class _PipeTransport(Transport):
    """An end that a thread waits for, since not every loop can watch a pipe."""

    def __init__(self, end: End, loop: asyncio.AbstractEventLoop) -> None:
        self._end = end
        self._loop = loop
        self._readable: Callable[[], None] | None = None
        self._writable: Callable[[], None] | None = None
        self._waiter: PollThread | None = None

    def watch_reading(self, ready: Callable[[], None] | None) -> None:
        self._readable, self._end.reading = ready, ready is not None
        self._watch()

    def watch_writing(self, ready: Callable[[], None] | None) -> None:
        self._writable, self._end.writing = ready, ready is not None
        self._watch()

    def _watch(self) -> None:
        if self._waiter is not None:
            self._end.wake()
        elif self._readable or self._writable:
            self._waiter = PollThread(self._end, "treeguard-pipe")
            self._waiter.begin(self._loop, self._look)
            self._end.wake()

    def _look(self) -> None:
        # The callback may close the end or stop watching.
        if self._readable is not None and self._end.readable:
            self._readable()
        if self._writable is not None and self._end.writable:
            self._writable()
        if self._readable is not None:
            self._end.read_ahead()

    def read(self) -> bytes | None:
        return self._end.read()

    def write(self, data: bytearray) -> int:
        return self._end.write(data)

    def close(self) -> None:
        self._readable = self._writable = None
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.end()
        self._end.close()


class _PipeLine(Line):
    """An end that the calling thread waits for."""

    def __init__(self, end: End) -> None:
        self._end = end
        end.reading = True

    def wait(self, seconds: float | None) -> bool:
        return self._end.readable or (self._end.wait(seconds) and self._end.readable)

    def read(self) -> bytes | None:
        return self._end.read()

    def write(self, data: bytearray) -> int:
        written = self._end.write(data)
        self._end.finish_writing()
        return written

    def hang_up(self) -> None:
        self._end.wake()

    def close(self) -> None:
        self._end.close()


def transport_on(end: End, loop: asyncio.AbstractEventLoop) -> Transport:
    """Returns a transport for an end on an event loop."""
    return _PipeTransport(end, loop)


def line_on(end: End) -> Line:
    """Returns a line for an end that threads use."""
    return _PipeLine(end)


def inherited(fd: int) -> End:
    """Returns a copy of the end behind a C runtime descriptor. Raises OSError, or ValueError if it is not a pipe."""
    handle = msvcrt.get_osfhandle(fd)
    if _winapi.GetFileType(handle) != _FILE_TYPE_PIPE:
        raise ValueError(f"descriptor {fd} is another thing")
    _winapi.PeekNamedPipe(handle, 0)
    return copied(fd)


def copied(fd: int) -> End:
    """Returns a copy of the end behind a C runtime descriptor, which must be that of an overlapped pipe."""
    handle, self = msvcrt.get_osfhandle(fd), _winapi.GetCurrentProcess()
    return End(_winapi.DuplicateHandle(self, handle, self, 0, False, _winapi.DUPLICATE_SAME_ACCESS))


def opened(place: str) -> int:
    """Returns an overlapped handle of the pipe with that name. Raises OSError."""
    access = _winapi.GENERIC_READ | _winapi.GENERIC_WRITE
    flags = _winapi.FILE_FLAG_OVERLAPPED | _NO_IMPERSONATION
    return _winapi.CreateFile(place, access, 0, _winapi.NULL, _winapi.OPEN_EXISTING, flags, _winapi.NULL)


def connected(place: str) -> End:
    """Returns an end connected to the server at that name. Waits a while if the server is busy. Raises OSError."""
    deadline = time.monotonic() + _CROWDED
    while True:
        try:
            return End(opened(place))
        except OSError as e:
            if e.winerror != _BUSY or time.monotonic() > deadline:
                raise
        with contextlib.suppress(OSError):  # The next attempt finds out whether the pipe is free.
            _winapi.WaitNamedPipe(place, _A_WHILE)
