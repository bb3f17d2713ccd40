"""The streams of a tree that has a terminal, and the transport that moves bytes to and from that."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...errors import ProcessEnded
from ...params import SpawnParams
from ..outcome import Capture
from ..terminals import Terminal
from .pty import Pty
from .reader import PipeReader, ReaderProtocol
from .streams import ENDED, Streams

if TYPE_CHECKING:
    from ..spec import Additions

__all__ = ["TerminalStreams", "TerminalTransport"]

#: Pauses, in seconds, between looks at a terminal that no process has open while the root lives.
_SHORTEST, _LONGEST = 0.001, 0.05
#: As much as asyncio keeps of what could not be written yet, before drain() waits, and until it has waited enough.
_HIGH, _LOW = 65536, 16384


class TerminalTransport(asyncio.Transport):
    """Reads and writes one end of a terminal. asyncio's own transports have one direction, and take EIO for an error.

    A terminal that no process has open reads as ended, and may be opened again (``/dev/tty``) as long as its session
    has a leader. So it has not ended before ``over`` says that the root has.
    """

    def __init__(self, terminal: Terminal, loop: asyncio.AbstractEventLoop, over: Callable[[], bool]) -> None:
        super().__init__({"pipe": terminal})
        #: :meth:`Streams._close_transport` takes it away on a closed loop.
        self._pipe: Terminal | None = terminal
        self._fd = terminal.fileno()
        self._loop = loop
        self._over: Callable[[], bool] | None = over
        self._protocol: Any = None
        self._unwritten = bytearray()
        self._full = False
        self._paused = False
        self._closing = False
        self._pause = _SHORTEST
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, protocol: ReaderProtocol) -> None:
        """Begins to read."""
        self._protocol = protocol
        protocol.connection_made(self)
        self._loop.add_reader(self._fd, self._read)

    # Reading.

    def _read(self) -> None:
        assert self._pipe is not None
        try:
            data = self._pipe.read()
        except OSError as error:
            self._end(error)
            return
        if data:
            self._pause = _SHORTEST
            self._protocol.data_received(data)
        elif data is not None and (self._over is None or self._over()):
            self._protocol.eof_received()
            self._end(None)
        elif data is not None:
            # Its descriptor is ready all the time now.
            self._loop.remove_reader(self._fd)
            self._loop.remove_writer(self._fd)
            self._look_later(self._pause)
            self._pause = min(2 * self._pause, _LONGEST)

    def _look_later(self, pause: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(pause, self._look_again)

    def _look_again(self) -> None:
        self._timer = None
        if self.is_reading():
            self._loop.add_reader(self._fd, self._read)
        if self._unwritten:
            self._loop.add_writer(self._fd, self._write)

    def pause_reading(self) -> None:
        """See :meth:`asyncio.ReadTransport.pause_reading`."""
        if not (self._closing or self._paused):
            self._paused = True
            self._loop.remove_reader(self._fd)

    def resume_reading(self) -> None:
        """See :meth:`asyncio.ReadTransport.resume_reading`."""
        if self._paused and not self._closing:
            self._paused = False
            if self._timer is None:
                self._loop.add_reader(self._fd, self._read)

    def is_reading(self) -> bool:
        """See :meth:`asyncio.ReadTransport.is_reading`."""
        return not (self._paused or self._closing)

    # Writing.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """See :meth:`asyncio.WriteTransport.write`."""
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(f"a terminal takes bytes, not {type(data).__name__}")
        if self._closing or not data:
            return
        waits = bool(self._unwritten)
        self._unwritten += data
        if not waits:
            self._write()
            if self._unwritten and self._timer is None and not self._closing:
                self._loop.add_writer(self._fd, self._write)
        if len(self._unwritten) > _HIGH and not self._full:
            self._full = True
            self._protocol.pause_writing()

    def _write(self) -> None:
        assert self._pipe is not None
        try:
            written = self._pipe.write(self._unwritten)
        except OSError as error:
            self._end(error)
            return
        del self._unwritten[:written]
        if not self._unwritten:
            self._loop.remove_writer(self._fd)
        elif not written and self._timer is None:
            # It is full, or ready although it is full: no process has the terminal open.
            self._loop.remove_writer(self._fd)
            self._look_later(_SHORTEST)
        if len(self._unwritten) <= _LOW and self._full:
            self._full = False
            self._protocol.resume_writing()

    def can_write_eof(self) -> bool:
        """See :meth:`asyncio.WriteTransport.can_write_eof`."""
        return False

    def get_write_buffer_size(self) -> int:
        """See :meth:`asyncio.WriteTransport.get_write_buffer_size`."""
        return len(self._unwritten)

    # The end.

    def is_closing(self) -> bool:
        """See :meth:`asyncio.BaseTransport.is_closing`."""
        return self._closing

    def close(self) -> None:
        """Closes the terminal at once. What was not written by then never is: nobody is left to read it."""
        self._end(None)

    def abort(self) -> None:
        """See :meth:`asyncio.WriteTransport.abort`."""
        self._end(None)

    def _end(self, error: Exception | None) -> None:
        if self._closing:
            return
        self._closing = True
        self._over = None
        self._unwritten.clear()
        if self._timer is not None:
            self._timer.cancel()
        try:
            self._loop.remove_reader(self._fd)
            self._loop.remove_writer(self._fd)
            if self._protocol is not None:
                self._loop.call_soon(self._protocol.connection_lost, error)
        finally:
            # On a closed loop these raise RuntimeError.
            if self._pipe is not None:
                self._pipe.close()


class TerminalStreams(Streams):
    """A tree's terminal, and its pipes."""

    def __init__(self, over: Callable[[], bool]) -> None:
        super().__init__()
        self._over = over
        self._terminal: Terminal | None = None

    @property
    def readers(self) -> tuple[PipeReader, ...]:
        """The outputs that are pipes, and the terminal."""
        return super().readers if self.pty is None else (*super().readers, self.pty)

    @property
    def identities(self) -> frozenset[str]:
        """What ``/proc`` calls the outputs that are open, and the terminal."""
        return super().identities if self._terminal is None else super().identities | self._terminal.identities

    def opened(self, params: SpawnParams, additions: Additions) -> SpawnParams:
        """Opens everything. Returns the parameters with the child's descriptors. Raises :class:`.SpawnError`."""
        piped = super().opened(params, additions)
        self._ends["pty"] = self._terminal = terminal = Terminal(params.pty, params.program)
        return terminal.given(piped, additions)

    async def connect(self) -> None:
        """See :meth:`Streams.connect`."""
        await super().connect()
        if self._terminal is None or self._terminal.closed:
            raise ProcessEnded(ENDED)
        loop = asyncio.get_running_loop()
        self.pty = pty = Pty(self._terminal, self._arrivals, loop)
        transport = self._transports["pty"] = TerminalTransport(self._terminal, loop, self._over)
        pty._connect(transport, ReaderProtocol(pty, loop=loop))

    def _close_childs(self) -> None:
        super()._close_childs()
        if self._terminal is not None:
            self._terminal.close_childs()

    def collect(self, stdout: Capture, stderr: Capture, ended: Callable[[], None]) -> None:
        """Hands the outputs to captures. What is written to the terminal is ``stdout``, unless that is a pipe."""
        super().collect(stdout, stderr, ended)
        if self.pty is not None:
            self.pty.collect(stdout if self.stdout is None else Capture(0), ended)

    def feed(self, data: bytes | bytearray | memoryview | None) -> None:
        """Types all of the input and then its end, unless standard input is a pipe."""
        super().feed(data)
        if self.stdin is None and self.pty is not None and data is not None:
            self.pty.write(data)
            self.pty.write_eof(data)
