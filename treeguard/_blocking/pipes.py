"""The pipes of a command, polled together with the trees."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import time
from typing import TYPE_CHECKING, Any

from .._core.handlers import SystemErrors
from .._core.inspection.left import pipe_identity
from .._core.outcome import Capture
from .._core.streams.pipes import set_pipe_sizes
from .pump import Traffic

if TYPE_CHECKING:
    from .command import Plan
    from .popen import Popen

__all__ = ["Pipes"]

#: How much is read at a time, in bytes, and how often before others have their turn.
_CHUNK, _READS = 1 << 16, 16
#: The size of a pipe for a long input, in bytes: half of what an unprivileged process may ask for (fs.pipe-max-size).
_LARGE = 1 << 19


class Pipes(Traffic):
    """The pipes of one command: its input is written, and its output kept, while somebody waits for its tree."""

    def __init__(self, process: Popen[Any], data: memoryview, plan: Plan) -> None:
        super().__init__()
        self._data = data
        self._idle_timeout = plan.idle_timeout
        self._last = time.monotonic()
        self._stdin = process.stdin
        #: By descriptor, what is kept of the streams that are read; and those that have not ended.
        self.captures: dict[int, Capture] = {}
        self.open: dict[int, Any] = {}
        self._captures: dict[Any, Capture] = {}
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                self.captures[stream.fileno()] = self._captures[stream] = Capture(plan.max_output, plan.keep)
                self._add(stream, select.POLLIN)
        if self._stdin is not None:
            self._add(self._stdin, select.POLLOUT)
            if len(data) > _CHUNK and process.pipesize < 0:
                # Each time that there is room this thread has to wake up.
                with SystemErrors():
                    set_pipe_sizes([self._stdin.fileno()], _LARGE, None)
            if not data:
                self._end(self._stdin.fileno())

    def _add(self, stream: Any, events: int) -> None:
        fd = stream.fileno()
        os.set_blocking(fd, False)
        self.open[fd] = stream
        self.poller.register(fd, events)

    def _end(self, fd: int) -> None:
        self.poller.unregister(fd)
        # The standard library ignores this as well: a text stream has nothing buffered that matters.
        with contextlib.suppress(BrokenPipeError):
            self.open.pop(fd).close()

    def until(self) -> float:
        return super().until() if self._idle_timeout is None else self._last + self._idle_timeout

    @property
    def idle(self) -> bool:
        """Whether nothing was written for too long."""
        return time.monotonic() >= self.until()

    @property
    def reads(self) -> bool:
        """Whether a stream that is read has not ended."""
        return any(fd in self.open for fd in self.captures)

    def capture(self, stream: Any) -> Capture | None:
        """What is kept of a stream; None if it is not captured."""
        return self._captures.get(stream)

    def stop_input(self) -> None:
        """Writes nothing more."""
        for fd in self.open.keys() - self.captures.keys():
            self._data = self._data[:0]
            self._end(fd)

    @property
    def identities(self) -> frozenset[str]:
        """What ``/proc`` calls those that are read and have not ended."""
        return frozenset(pipe_identity(fd) for fd in self.captures if fd in self.open)

    def serve(self, fd: int, events: int) -> None:
        if fd not in self.open:
            return
        if fd not in self.captures:
            self._write(fd)
            return
        for _ in range(_READS):
            if self._read(fd, _CHUNK) < _CHUNK:
                return

    def _read(self, fd: int, size: int) -> int:
        """Reads so many bytes, if there are, and returns how many there were."""
        try:
            data = os.read(fd, size)
        except BlockingIOError:
            return 0
        if data:
            self._last = time.monotonic()
            self.captures[fd].add(data)
        else:
            self._end(fd)
        return len(data)

    def _write(self, fd: int) -> None:
        try:
            written = os.write(fd, self._data[:_LARGE])
        except BlockingIOError:
            return
        except BrokenPipeError:
            written = len(self._data)
        self._data = self._data[written:]
        if not self._data:
            self._end(fd)

    def read_rest(self) -> None:
        """Reads what was written by now, however much is being written meanwhile."""
        for fd in self.captures:
            # One more than there is tells the end.
            left = _readable(fd) + 1 if fd in self.open else 0
            while left > 0 and fd in self.open and (read := self._read(fd, min(left, _CHUNK))):
                left -= read


def _readable(fd: int) -> int:
    """How many bytes are in a pipe."""
    import fcntl  # noqa: PLC0415 - of POSIX
    import termios  # noqa: PLC0415

    room = bytearray(4)
    fcntl.ioctl(fd, termios.FIONREAD, room)
    return int.from_bytes(room, sys.byteorder)
