"""The pipes of a command on Windows: overlapped, so that one thread can wait for all of them and for its tree."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from typing import TYPE_CHECKING, Any

from .._core.outcome import Capture

assert sys.platform == "win32"
from .._transport.pipes_windows import CHUNK, End, copied  # noqa: E402 - Windows only
from .pump_windows import Traffic  # noqa: E402 - Windows only

if TYPE_CHECKING:
    from .command import Plan
    from .popen import Popen

__all__ = ["Pipes"]

#: How often is read before others have their turn.
_READS = 16


class Pipes(Traffic):
    """The pipes of one command. Windows cancels what a thread has begun when that ends, so one thread does it all."""

    def __init__(self, process: Popen[Any], data: memoryview, plan: Plan) -> None:
        self._data = data
        self._idle_timeout = plan.idle_timeout
        self._last = time.monotonic()
        self._stdin: Any = process.stdin
        #: By stream, what is kept of those that are read; and this process's ends of those that have not ended.
        self._captures: dict[Any, Capture] = {}
        self._open: dict[Any, End] = {}
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                self._captures[stream] = Capture(plan.max_output, plan.keep)
                self._add(stream)
                self._open[stream].reading = True
        if self._stdin is not None:
            self._add(self._stdin)
            self._open[self._stdin].writing = True
            if not data:
                self._end(self._stdin)

    def _add(self, stream: Any) -> None:
        # The standard library's file has a handle too, and closes it.
        self._open[stream] = copied(stream.fileno())

    def _end(self, stream: Any) -> None:
        self._open.pop(stream).close()
        with contextlib.suppress(BrokenPipeError):
            stream.close()

    def until(self) -> float:
        return math.inf if self._idle_timeout is None else self._last + self._idle_timeout

    @property
    def idle(self) -> bool:
        """Whether nothing was written for too long."""
        return time.monotonic() >= self.until()

    @property
    def reads(self) -> bool:
        """Whether a stream that is read has not ended."""
        return any(stream in self._open for stream in self._captures)

    def capture(self, stream: Any) -> Capture | None:
        """What is kept of a stream; None if it is not captured."""
        return self._captures.get(stream)

    def stop_input(self) -> None:
        """Writes nothing more."""
        if self._stdin in self._open:
            self._end(self._stdin)

    @property
    def identities(self) -> frozenset[str]:
        """What tells who else holds those that are read: nothing does on Windows."""
        return frozenset()

    def events(self) -> list[int] | None:
        under_way = []
        for stream, end in self._open.items():
            if end.writable if stream is self._stdin else end.readable:
                return None
            under_way += [each.event for each in end.events()]
        return under_way

    def serve(self) -> None:
        for stream in list(self._open):
            if stream is self._stdin:
                self._write()
            else:
                self._read(stream, _READS * CHUNK)

    def _read(self, stream: Any, size: int) -> None:
        """Reads what there is, about so many bytes at most."""
        end = self._open[stream]
        while size > 0 and (data := end.read()) is not None:
            if not data:
                self._end(stream)
                return
            self._last = time.monotonic()
            self._captures[stream].add(data)
            size -= len(data)

    def _write(self) -> None:
        end = self._open[self._stdin]
        try:
            while end.writable:
                if not self._data:
                    end.finish_writing()
                    self._end(self._stdin)
                    return
                self._data = self._data[end.write(self._data[:CHUNK]) :]
        except BrokenPipeError:
            self._data = self._data[:0]
            self._end(self._stdin)

    def read_rest(self) -> None:
        """Reads what was written by now, however much is being written meanwhile."""
        for stream in self._captures:
            if stream in self._open:
                # What a read under way has taken is no longer in the pipe.
                self._read(stream, self._open[stream].waiting + CHUNK)

    def close(self) -> None:
        """Lets go of this process's ends."""
        while self._open:
            self._open.popitem()[1].close()
