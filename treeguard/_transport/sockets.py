"""Connections over Unix sockets: unix(7)."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING

from .abc import Line, Transport
from .credentials import Sender, check_room, descriptors, refuse_descriptors, sender
from .descriptors import ANCILLARY, apart_from_streams

if TYPE_CHECKING:
    import asyncio

__all__ = ["End", "connected", "inherited", "line_on", "transport_on"]

End = socket.socket

_READ = 64 * 1024


class _SocketTransport(Transport):
    """A socket, which it sets non-blocking, among those of the loop."""

    def __init__(self, sock: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._loop = loop
        #: Whether somebody sends who is not trusted, and could send descriptors along.
        self._wary = False

    def watch_reading(self, ready: Callable[[], None] | None) -> None:
        if ready is not None:
            self._loop.add_reader(self._socket, ready)
        elif not self._loop.is_closed():
            self._loop.remove_reader(self._socket)

    def watch_writing(self, ready: Callable[[], None] | None) -> None:
        if ready is not None:
            self._loop.add_writer(self._socket, ready)
        elif not self._loop.is_closed():
            self._loop.remove_writer(self._socket)

    def be_wary(self) -> None:
        """See :meth:`Transport.be_wary`."""
        self._wary = not refuse_descriptors(self._socket)

    def read(self) -> bytes | None:
        try:
            if self.vet is None and not self._wary:
                return self._socket.recv(_READ)
            return self._vetted(self.vet)
        except (BlockingIOError, InterruptedError):
            return None

    def _vetted(self, vet: Callable[[Sender], bool] | None) -> bytes | None:
        """Descriptors that came along are closed, whoever sent them. An end of file was sent by nobody."""
        if vet is not None:
            check_room()
        data, ancillary, _, _ = self._socket.recvmsg(_READ, ANCILLARY, socket.MSG_CMSG_CLOEXEC)
        sent, handles = descriptors(ancillary)
        try:
            return data if vet is None or not data or vet(sender(ancillary)) else None
        finally:
            for fd in handles:
                os.close(fd)
            if sent:
                _closing().close_elsewhere(sent)

    def write(self, data: bytearray) -> int:
        try:
            return self._socket.send(data, socket.MSG_NOSIGNAL)
        except (BlockingIOError, InterruptedError):
            return 0

    def close(self) -> None:
        if self._wary:  # What has not been read may hold what was sent along, and goes with the socket.
            _closing().put_away(self._socket)
        else:
            self._socket.close()

    def forget(self) -> None:
        self._socket.close()


class _SocketLine(Line):
    """A socket that blocks."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(True)
        self._socket = sock
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)

    def wait(self, seconds: float | None) -> bool:
        return bool(self._poll.poll(None if seconds is None else seconds * 1000))

    def read(self) -> bytes | None:
        return self._socket.recv(_READ)

    def write(self, data: bytearray) -> int:
        return self._socket.send(data, socket.MSG_NOSIGNAL)

    def hang_up(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._socket.close()


def _closing() -> ModuleType:
    """Imports threads and loops, which a child does not need."""
    from . import closing  # noqa: PLC0415

    return closing


def transport_on(end: End, loop: asyncio.AbstractEventLoop) -> Transport:
    """One end on an event loop."""
    return _SocketTransport(end, loop)


def line_on(end: End) -> Line:
    """One end for threads."""
    return _SocketLine(end)


def inherited(fd: int) -> End:
    """A copy of the end of that number. Raises OSError, or ValueError for another thing."""
    copy = os.dup(fd)
    try:
        found = socket.socket(fileno=copy)
    except OSError:  # not a socket
        os.close(copy)
        raise
    if found.family != socket.AF_UNIX or found.type != socket.SOCK_STREAM:
        found.close()
        raise ValueError(f"descriptor {fd} is another thing")
    return apart_from_streams(found)


def connected(place: str) -> End:
    """An end at whose other one is who listens there. Raises OSError."""
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.connect(place)
    except OSError:
        sock.close()
        raise
    return sock
