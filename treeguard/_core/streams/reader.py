"""The end of a pipe that a child writes to, as an :class:`asyncio.StreamReader` whose lines may be of any length."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..outcome import Capture

__all__ = ["Arrivals", "PipeReader", "ReaderProtocol"]

#: As many bytes are kept as asyncio.subprocess keeps: at twice this the pipe is left to fill up.
_BUFFER = 65536
_NEWLINE = ord("\n")


class Arrivals:
    """Numbers what arrives on the streams of one tree, in order."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


class PipeReader(asyncio.StreamReader):
    """What a child writes. ``readline``, ``readuntil`` and ``async for`` have no limit, unless ``limit`` was given.

    As with asyncio the reader stops reading the pipe while its buffer is full, so that a child that writes faster than
    it is read has to wait. A call that needs more than that reads on.
    """

    if TYPE_CHECKING:
        _buffer: bytearray
        _eof: bool
        _exception: BaseException | None
        _limit: int
        _loop: asyncio.AbstractEventLoop
        _paused: bool
        _transport: asyncio.ReadTransport | None
        _waiter: asyncio.Future[None] | None

    def __init__(self, name: str, arrivals: Arrivals, loop: asyncio.AbstractEventLoop) -> None:
        # asyncio compares lines with the limit, and with it None can exceed it.
        super().__init__(limit=sys.maxsize, loop=loop)
        #: ``"stdout"`` or ``"stderr"``.
        self.name = name
        #: The time on the loop's clock at which something arrived last.
        self.last = loop.time()
        #: Called when something has arrived, or the end.
        self.listener: Callable[[], None] | None = None
        self._full = _BUFFER
        self._arrivals = arrivals
        self._fed = 0
        #: Where each chunk ends, counted from the first byte, and its number.
        self._chunks: deque[tuple[int, int]] = deque()
        self._capture: Capture | None = None

    def limit_lines(self, limit: int) -> None:
        """Limits lines and the buffer, as ``asyncio.create_subprocess_exec`` does."""
        if limit <= 0:
            raise ValueError("Limit cannot be <= 0")
        self._limit = self._full = limit
        self._pause_if_full()

    @property
    def failure(self) -> BaseException | None:
        """Why the stream has failed, if it has."""
        return self._exception

    @property
    def ended(self) -> bool:
        """Whether no more will arrive."""
        return self._eof or self._exception is not None

    # What the loop calls.

    def feed_data(self, data: Any) -> None:
        """Takes what has arrived."""
        if self._eof or not data:
            return
        self.last = self._loop.time()
        if self._capture is not None:
            self._capture.add(data)
            return
        self._arrivals.count += 1
        self._fed += len(data)
        chunks, consumed = self._chunks, self._fed - len(self._buffer) - len(data)
        while chunks and chunks[0][0] <= consumed:
            chunks.popleft()
        chunks.append((self._fed, self._arrivals.count))
        super().feed_data(data)
        self._pause_if_full()
        self._tell()

    def feed_eof(self) -> None:
        """Takes the end."""
        super().feed_eof()
        self._tell()

    def set_exception(self, exc: BaseException) -> None:
        """Takes the reason why there will be no end."""
        super().set_exception(exc)  # type: ignore[arg-type]
        self._tell()

    def _tell(self) -> None:
        if self.listener is not None:
            self.listener()

    # Back-pressure.

    def _pause_if_full(self) -> None:
        if self._transport is not None and not self._paused and len(self._buffer) > 2 * self._full:
            try:
                self._transport.pause_reading()
            except NotImplementedError:
                return
            self._paused = True

    def _maybe_resume_transport(self) -> None:
        if self._paused and len(self._buffer) <= self._full:
            self.read_on()

    def read_on(self) -> None:
        """Reads the pipe, however much is in the buffer."""
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    def let_go(self) -> None:
        """Leaves the pipe to somebody else."""
        transport, self._transport, paused, self._paused = self._transport, None, self._paused, False
        if transport is not None and not paused:
            transport.pause_reading()

    # Other ways to take what arrives.

    def check_unread(self) -> None:
        """Raises RuntimeError, as asyncio does, if somebody is waiting here."""
        if self._waiter is not None or self.listener is not None:
            raise RuntimeError(f"{self.name} is being read by another task")

    def collect(self, capture: Capture, ended: Callable[[], None]) -> None:
        """Hands on what is in the buffer, and what arrives later. Calls ``ended`` at the end."""
        capture.add(self._buffer)
        self._buffer.clear()
        self._capture = capture
        self.listener = ended
        self.read_on()

    def release(self, *, put_back: bool) -> None:
        """Ends that. ``put_back``: has everything in the buffer again."""
        capture, self._capture, self.listener = self._capture, None, None
        if capture is not None and put_back:
            self._buffer[:0] = capture.value
            self._fed += len(capture.value)
            self._pause_if_full()

    @property
    def fed(self) -> int:
        """How many bytes have ever been in the buffer."""
        return self._fed

    @property
    def waiting(self) -> int:
        """How many bytes are in the buffer."""
        return len(self._buffer)

    def line_end(self, searched: int) -> int:
        """Where the first line in the buffer ends, or 0. ``searched`` bytes of all that were fed hold no newline."""
        buffer = self._buffer
        if not buffer:
            return 0
        start = searched - self._fed + len(buffer)
        end = buffer.find(b"\n", start if start > 0 else 0) + 1  # max() takes longer than the search
        return end or (len(buffer) if self.ended else 0)

    def line_length(self, end: int) -> int:
        """The length of a line without its newline."""
        return end - (self._buffer[end - 1] == _NEWLINE)

    def arrival(self, end: int) -> int:
        """The number of the chunk in which the byte before ``end`` arrived."""
        place = self._fed - len(self._buffer) + end
        while self._chunks and self._chunks[0][0] < place - end + 1:
            self._chunks.popleft()
        return next((number for to, number in self._chunks if to >= place), 0)

    def take(self, size: int) -> bytes:
        """Takes the first bytes out of the buffer."""
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        if self._paused:
            self._maybe_resume_transport()
        return data


class ReaderProtocol(asyncio.StreamReaderProtocol):
    """A stream's protocol, for a pipe: it is closed at its end."""

    def eof_received(self) -> bool:
        """Takes the end. False: there is no other direction that the transport would have to be kept open for."""
        super().eof_received()
        return False
