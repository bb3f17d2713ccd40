"""The streams of one tree: made before its spawn, connected to the event loop after it, closed with the tree."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import sys
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from ...errors import ProcessEnded, invalid_argument, spawn_error
from ...params import SpawnParams
from ..inspection.left import pipe_identity
from ..outcome import Capture
from .pipes import PipeEnd, make_pipe, set_pipe_sizes, written_so_far
from .reader import Arrivals, PipeReader, ReaderProtocol

if TYPE_CHECKING:
    from ..spec import Additions
    from .pty import Pty

__all__ = ["ENDED", "Streams", "streams_for"]

#: Why a tree's streams were not connected.
ENDED = "the tree was ended while it was being started"
_NAMES = ("stdin", "stdout", "stderr")
#: How long, in seconds, the end of an output is waited for on Windows when the tree is empty.
_LAST_OUTPUT = 1.0


def streams_for(params: SpawnParams, over: Callable[[], bool]) -> Streams:
    """What connects a tree. ``over`` tells whether its root has ended. Raises :class:`.SpawnError`."""
    if not params.pty:
        return Streams()
    if sys.platform == "win32":
        raise invalid_argument("pty", "is not to be had on Windows", params.program)
    from .terminal import TerminalStreams

    return TerminalStreams(over)


class Streams:
    """A tree's pipes. Those that were not asked for are None.

    They belong to the event loop that they were connected on. In a forked copy of the process they are closed, since an
    open copy would keep a child waiting for the end of its input.
    """

    def __init__(self) -> None:
        self.stdin: asyncio.StreamWriter | None = None
        self.stdout: PipeReader | None = None
        self.stderr: PipeReader | None = None
        self.pty: Pty | None = None
        self._arrivals = Arrivals()
        self._ends: dict[str, PipeEnd] = {}
        self._childs: dict[str, int] = {}
        self._transports: dict[str, Any] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        #: The outputs of which the connection was interrupted.
        self._lost: set[str] = set()
        _living.add(self)

    @property
    def readers(self) -> tuple[PipeReader, ...]:
        """The outputs that are pipes."""
        return tuple(reader for reader in (self.stdout, self.stderr) if reader is not None)

    @property
    def identities(self) -> frozenset[str]:
        """What ``/proc`` calls the outputs that are open. Nothing on Windows, where pipes have handles."""
        if sys.platform == "win32":
            return frozenset()
        ends = (self._ends.get(name) for name in _NAMES[1:])
        held = (pipe_identity(end.fileno()) for end in ends if end is not None and not _is_closed(end))
        return frozenset(held) | self._lost

    # Opening.

    def opened(self, params: SpawnParams, additions: Additions) -> SpawnParams:
        """Makes the pipes. Returns the parameters with the child's descriptors. Raises :class:`.SpawnError`."""
        for name in _NAMES:
            if getattr(params, name) == "pipe":
                try:
                    self._ends[name], self._childs[name] = make_pipe(to_child=name == "stdin")
                except OSError as error:
                    raise spawn_error("stdio", error.errno or errno.EIO, params.program, detail=name) from error
        if params.pipesize > 0:
            set_pipe_sizes(self._childs.values(), params.pipesize, params.program)
        return msgspec.structs.replace(params, **self._childs)

    async def connect(self) -> None:
        """Connects them to the running loop, once the child runs. Whoever is cancelled here closes them."""
        self._close_childs()
        loop = self._loop = asyncio.get_running_loop()
        for name in [name for name in _NAMES if name in self._ends]:
            if name == "stdin":
                self.stdin = await self._writer(loop)
            else:
                reader = PipeReader(name, self._arrivals, loop)
                setattr(self, name, reader)
                await self._connected(name, loop.connect_read_pipe, ReaderProtocol(reader, loop=loop))

    async def _writer(self, loop: asyncio.AbstractEventLoop) -> asyncio.StreamWriter:
        # StreamWriter needs a protocol that controls the flow. asyncio has that in this one, which gets no data here.
        protocol = asyncio.StreamReaderProtocol(asyncio.StreamReader(loop=loop), loop=loop)
        transport = await self._connected("stdin", loop.connect_write_pipe, protocol)
        return asyncio.StreamWriter(transport, protocol, None, loop)

    async def _connected(self, name: str, connect: Callable[..., Any], protocol: asyncio.BaseProtocol) -> Any:
        if self._closed:
            raise ProcessEnded(ENDED)
        end = self._ends[name]
        # Asked before: uvloop closes the descriptor of a connection that is cancelled, and its file does not know.
        identity = pipe_identity(end.fileno()) if sys.platform != "win32" and name != "stdin" else ""
        try:
            transport, _ = await connect(lambda: protocol, end)
        except BaseException:
            if identity:
                self._lost.add(identity)
            # The transport closes its descriptor, at once or in a later turn. Closed later, it could be another's.
            with contextlib.suppress(OSError):
                end.close()
            raise
        self._transports[name] = transport
        if self._closed:
            self._close_transport(name)
            raise ProcessEnded(ENDED)
        return transport

    # Closing.

    async def finish(self) -> None:
        """Closes everything, after reading what is written by now: called when the tree is empty."""
        if sys.platform == "win32" and not self._closed:
            deadline = asyncio.get_running_loop().time() + _LAST_OUTPUT
            while not self.ended and asyncio.get_running_loop().time() < deadline:
                for reader in self.readers:
                    reader.read_on()
                await asyncio.sleep(0.001)
        self.close()

    def read_rest(self) -> bool:
        """Reads what the pipes hold, instead of the loop, which reads no more. Returns whether all have ended."""
        for reader in self.readers:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                reader.let_go()
            if not reader.ended:
                data, over = written_so_far(self._ends[reader.name])
                # On a closed loop whoever waits for these waits no more.
                with contextlib.suppress(RuntimeError):
                    reader.feed_data(data)
                if over:
                    _end(reader)
        return self.ended

    def close(self) -> None:
        """Closes everything, after reading what the pipes hold. Again is no error. Needs no running loop."""
        self._close_childs()
        if self._closed:
            return
        self._closed = True
        self.read_rest()
        for reader in self.readers:
            _end(reader)
            reader.listener = None
        for name in list(self._ends):
            if name in self._transports:
                self._close_transport(name)
            else:
                self._ends[name].close()
        _living.discard(self)

    def _close_transport(self, name: str) -> None:
        transport, loop = self._transports[name], self._loop
        with contextlib.suppress(RuntimeError):  # the loop is closed
            if not transport.is_closing():
                transport.close()
            # One that is closing waits for its buffer alone: without one its end is under way.
            if name == "stdin" and transport.get_write_buffer_size():
                transport.abort()
        if loop is not None and loop.is_closed():
            # asyncio's transports would close it in a later turn of the loop, and complain that there was none.
            for attribute in ("_pipe", "_sock"):
                if hasattr(transport, attribute):
                    self._ends[name].close()
                    setattr(transport, attribute, None)

    def _close_childs(self) -> None:
        while self._childs:
            os.close(self._childs.popitem()[1])

    def forked(self) -> None:
        """Closes a forked copy's descriptors. The originals stay as they are."""
        self._closed = True
        self._close_childs()
        for end in self._ends.values():
            with contextlib.suppress(OSError):
                end.close()

    # Taking everything.

    def check_unread(self) -> None:
        """Raises RuntimeError if somebody waits for an output."""
        for reader in self.readers:
            reader.check_unread()

    def collect(self, stdout: Capture, stderr: Capture, ended: Callable[[], None]) -> None:
        """Hands the outputs to captures, from now on, and calls ``ended`` at the end of each."""
        for reader, capture in ((self.stdout, stdout), (self.stderr, stderr)):
            if reader is not None:
                reader.collect(capture, ended)

    def release(self, *, put_back: bool) -> None:
        """Ends that. ``put_back``: lets the streams have again what they handed on."""
        for reader in self.readers:
            reader.release(put_back=put_back)

    def feed(self, data: bytes | bytearray | memoryview | None) -> None:
        """Writes all of the input and then its end. What is not read by then stays in memory until it is."""
        if self.stdin is not None and not self.stdin.is_closing():
            if data:
                self.stdin.write(data)
            self.stdin.close()

    @property
    def ended(self) -> bool:
        """Whether no output can bring more."""
        return all(reader.ended for reader in self.readers)


def _end(reader: PipeReader) -> None:
    if not reader.ended:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            reader.feed_eof()


def _is_closed(end: PipeEnd) -> bool:
    try:
        return bool(end.fileno() < 0)
    except (OSError, ValueError):
        return True


_living: weakref.WeakSet[Streams] = weakref.WeakSet()


def _after_fork() -> None:
    for streams in list(_living):
        streams.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
