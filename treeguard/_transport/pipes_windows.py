"""Connections over named pipes of Windows whose input and output overlap, so that reading does not keep from writing.

An end is a handle, one read and one write under way at most, and the events that tell of their completion. What is
under way belongs to the thread that began it: Windows cancels it when that thread ends.
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

# Of the standard library, which uses them for the same: multiprocessing.connection, asyncio.windows_events.
assert sys.platform == "win32"
import _overlapped  # type: ignore[import-not-found]  # noqa: E402 - only there
import _winapi  # noqa: E402 - only there
import msvcrt  # noqa: E402 - only there

__all__ = [
    "CHUNK",
    "End",
    "Waits",
    "cancel",
    "connected",
    "has_ended",
    "inherited",
    "line_on",
    "opened",
    "transport_on",
]

#: Bytes that are read or written in one go.
CHUNK = 64 * 1024
#: Milliseconds that can be waited, short of without end.
_LONGEST = 0xFFFFFFFE
#: Seconds in which one who comes to a pipe wants to be let in, and milliseconds between two tries.
_CROWDED = 10.0
_A_WHILE = 100
_FILE_TYPE_PIPE = 3
_BUSY = 231  # ERROR_PIPE_BUSY
#: ERROR_BROKEN_PIPE, ERROR_NO_DATA, ERROR_PIPE_NOT_CONNECTED: the other end has been closed, or is being closed.
_CLOSED = (109, 232, 233)
#: Whoever listens there may learn who comes, and not act in its name (SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION).
_NO_IMPERSONATION = 0x00110000


class Waits:
    """Something that a thread waits for, by events, until it is waked."""

    def __init__(self) -> None:
        self._waking = threading.Lock()
        self._wake: int | None = _overlapped.CreateEvent(None, True, False, None)

    def events(self) -> list[_winapi.Overlapped]:
        """What is under way and waited for now."""
        raise NotImplementedError

    def wait(self, timeout: float | None) -> bool:
        """See :class:`~treeguard._core.poll_thread.Pollable`. For one thread at a time."""
        with self._waking:
            wake = self._wake
        if wake is None:
            return False
        # Whose event is waited for stays until it is not, whatever is done with it meanwhile.
        under_way = self.events()
        milliseconds = _winapi.INFINITE if timeout is None else min(math.ceil(timeout * 1000), _LONGEST)
        events = [wake, *(each.event for each in under_way)]
        told = _winapi.WaitForMultipleObjects(events, False, milliseconds)
        if told == _winapi.WAIT_OBJECT_0:
            _overlapped.ResetEvent(wake)
        return told != _winapi.WAIT_TIMEOUT

    def wake(self) -> None:
        """Ends that wait."""
        with self._waking:
            if self._wake is not None:
                _overlapped.SetEvent(self._wake)

    def close(self) -> None:
        """Nobody may wait any more. Again is no error."""
        with self._waking:
            wake, self._wake = self._wake, None
        if wake is not None:
            _winapi.CloseHandle(wake)


class _UnderWay:
    """A read and a write; whether there may be no more to read, and what was wrong then."""

    def __init__(self) -> None:
        self.incoming: _winapi.Overlapped | None = None
        self.outgoing: _winapi.Overlapped | None = None
        self.finished = False
        self.failed: OSError | None = None

    def end(self) -> None:
        """Before the end is closed, forgotten, or this process ends: Windows writes into no buffer after this."""
        self.finished = True
        for each in (self.incoming, self.outgoing):
            if each is not None:
                cancel(each)


class End(Waits):
    """One end of a pipe, of which a thread waits for what is wanted."""

    def __init__(self, handle: int) -> None:
        """The handle is its own, and overlapping."""
        super().__init__()
        self._handle: int | None = handle
        self._io = _UnderWay()
        self._end_io = weakref.finalize(self, self._io.end)
        self.reading = self.writing = False

    def wait(self, timeout: float | None) -> bool:
        """See :meth:`Waits.wait`. The end, once seen, is there for good."""
        return (self.reading and self._io.finished) or super().wait(timeout)

    def events(self) -> list[_winapi.Overlapped]:
        """What is under way in a wanted direction."""
        wanted = (self._io.incoming if self.reading else None, self._io.outgoing if self.writing else None)
        return [each for each in wanted if each is not None]

    @property
    def readable(self) -> bool:
        """Whether there is something to read, or the end, or an error."""
        self.read_ahead()
        return self._io.finished or (self._io.incoming is not None and has_ended(self._io.incoming))

    @property
    def writable(self) -> bool:
        """Whether there is room."""
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
        # The thread that began it has ended; and a write of no bytes is no end.
        return (None if error == _winapi.ERROR_OPERATION_ABORTED else done.getbuffer()) or None

    def read_ahead(self) -> None:
        """Has a read under way, unless the end has been seen."""
        if self._io.incoming is not None or self._io.finished:
            return
        try:
            self._io.incoming, _ = _winapi.ReadFile(self._opened, CHUNK, overlapped=True)
        except OSError as e:
            self._io.finished = True
            self._io.failed = None if e.winerror in _CLOSED else e

    def write(self, data: bytearray) -> int:
        """See :meth:`Transport.write`. What was taken on is under way until the pipe has room for it."""
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
        """Waits until what was taken on is in the pipe."""
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
        """Closes the handle. What the pipe holds is still there for the other end to be read."""
        handle, self._handle = self._handle, None
        if handle is not None:
            self._end_io()
            super().close()
            _winapi.CloseHandle(handle)


def has_ended(under_way: _winapi.Overlapped) -> bool:
    """Without the result, which may be an error."""
    return _winapi.WaitForSingleObject(under_way.event, 0) == _winapi.WAIT_OBJECT_0


def cancel(under_way: _winapi.Overlapped) -> None:
    """Ends it, whether or not it was over."""
    with contextlib.suppress(OSError):  # It failed by itself.
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
        # Whoever is called may close it, or watch no longer.
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
    """An end that is waited for."""

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
    """One end on an event loop."""
    return _PipeTransport(end, loop)


def line_on(end: End) -> Line:
    """One end for threads."""
    return _PipeLine(end)


def inherited(fd: int) -> End:
    """A copy of the end that a descriptor of the C runtime is. Raises OSError, or ValueError for another thing."""
    handle = msvcrt.get_osfhandle(fd)
    if _winapi.GetFileType(handle) != _FILE_TYPE_PIPE:
        raise ValueError(f"descriptor {fd} is another thing")
    _winapi.PeekNamedPipe(handle, 0)
    self = _winapi.GetCurrentProcess()
    return End(_winapi.DuplicateHandle(self, handle, self, 0, False, _winapi.DUPLICATE_SAME_ACCESS))


def opened(place: str) -> int:
    """A handle of the pipe of that name, overlapping. Raises OSError."""
    access = _winapi.GENERIC_READ | _winapi.GENERIC_WRITE
    flags = _winapi.FILE_FLAG_OVERLAPPED | _NO_IMPERSONATION
    return _winapi.CreateFile(place, access, 0, _winapi.NULL, _winapi.OPEN_EXISTING, flags, _winapi.NULL)


def connected(place: str) -> End:
    """An end at whose other one is who listens there. Waits while others are let in, for a while. Raises OSError."""
    deadline = time.monotonic() + _CROWDED
    while True:
        try:
            return End(opened(place))
        except OSError as e:
            if e.winerror != _BUSY or time.monotonic() > deadline:
                raise
        with contextlib.suppress(OSError):  # Whether it is free now is found out by trying once more.
            _winapi.WaitNamedPipe(place, _A_WHILE)
