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
#: In milliseconds. poll(2) takes no more.
_LONGEST_WAIT = 2**31 - 1


class _SocketTransport(Transport):
    """A socket watched by the loop. It is set to non-blocking."""

    def __init__(self, sock: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._loop = loop
        #: Whether the other side is untrusted and could send descriptors.
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
        """Reads data and asks ``vet`` about the sender, except at the end of file. Closes all received descriptors."""
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
        if self._wary:  # Unread data may hold descriptors, which are closed together with the socket.
            _closing().put_away(self._socket)
        else:
            self._socket.close()

    def forget(self) -> None:
        self._socket.close()


class _SocketLine(Line):
    """A blocking socket."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(True)
        self._socket = sock
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)

    def wait(self, seconds: float | None) -> bool:
        return bool(self._poll.poll(None if seconds is None else min(seconds * 1000, _LONGEST_WAIT)))

    def read(self) -> bytes | None:
        return self._socket.recv(_READ)

    def write(self, data: bytearray) -> int:
        return self._socket.send(data, socket.MSG_NOSIGNAL)

    def hang_up(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._socket.close()


def _closing() -> ModuleType:
    """Imports the closing module late: it imports threads and loops, which a child does not need."""
    from . import closing  # noqa: PLC0415

    return closing


def transport_on(end: End, loop: asyncio.AbstractEventLoop) -> Transport:
    """Returns a transport for an end on an event loop."""
    return _SocketTransport(end, loop)


def line_on(end: End) -> Line:
    """Returns a line for an end that threads use."""
    return _SocketLine(end)


def inherited(fd: int) -> End:
    """Returns a copy of the end with that number. Raises OSError, or ValueError if it is not a Unix stream socket."""
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
    """Returns an end connected to the server at that path. Raises OSError."""
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.connect(place)
    except BaseException:
        sock.close()
        raise
    return sock
