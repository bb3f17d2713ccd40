"""Unix sockets: a connected pair, or one in a directory that only this user can enter."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

from .._transport import End
from .._transport.closing import put_away
from .._transport.credentials import ask_for_senders, check_room, is_member, peer, refuse_descriptors
from .._transport.descriptors import apart_from_streams
from .listener import Accepted, BaseListener, InheritedEnd

__all__ = ["UNAVAILABLE", "Listener", "pair"]

#: What is missing on this system. If sockets do not report senders, any process could use a leaked token.
UNAVAILABLE = None if hasattr(socket, "SO_PASSCRED") else "needs Linux, or Windows"

#: The number of connections that may wait to be accepted.
_WAITING = 8


def pair() -> tuple[End, InheritedEnd]:
    """Returns this side's end, on which the kernel reports senders, and the end to be given away. Raises OSError."""
    with contextlib.ExitStack() as undo:
        ours, theirs = socket.socketpair()
        undo.enter_context(ours)
        given = apart_from_streams(theirs)
        undo.enter_context(given)
        ask_for_senders(ours)
        undo.pop_all()
    return ours, given


class Listener(BaseListener):
    """A listening socket in a directory of its own."""

    def __init__(self) -> None:
        """Raises OSError. Nothing is left behind in that case."""
        with contextlib.ExitStack() as undo:
            directory = tempfile.mkdtemp(prefix="treeguard-")
            undo.callback(os.rmdir, directory)
            self.address = str(Path(directory, "control"))
            self._socket = undo.enter_context(socket.socket(socket.AF_UNIX))
            self._socket.setblocking(False)
            self._socket.bind(self.address)
            undo.callback(os.unlink, self.address)
            ask_for_senders(self._socket)
            self._wary = not refuse_descriptors(self._socket)
            self._socket.listen(_WAITING)
            self._put_away = undo.pop_all()
        self._loop: asyncio.AbstractEventLoop | None = None

    def listen(self, loop: asyncio.AbstractEventLoop, on_connection: Callable[[], None]) -> None:
        """See :meth:`BaseListener.listen`."""
        if self._socket.fileno() >= 0:
            self._loop = loop
            loop.add_reader(self._socket, on_connection)

    def pause(self) -> None:
        """See :meth:`BaseListener.pause`."""
        loop, self._loop = self._loop, None
        if loop is not None and not loop.is_closed():
            loop.remove_reader(self._socket)

    def accept(self, belongs: Callable[[int], bool]) -> Accepted | None:
        """See :meth:`BaseListener.accept`."""
        check_room()
        try:
            sock, _ = self._socket.accept()
        except (BlockingIOError, ConnectionError):
            return None
        with contextlib.ExitStack() as undo:
            undo.callback(self._discard, sock)
            with peer(sock) as who:
                welcome = is_member(who, belongs)
            if welcome:
                undo.pop_all()
            return Accepted(who.pid, sock if welcome else None)

    def _discard(self, sock: socket.socket) -> None:
        """Closes a socket, in another thread if its queue may hold descriptors that could not be refused."""
        if self._wary:
            put_away(sock)
        else:
            sock.close()

    def close(self) -> None:
        """See :meth:`BaseListener.close`."""
        self.pause()
        self._discard(self._socket)
        with contextlib.suppress(OSError):  # The directory was removed, or another file was put there.
            self._put_away.close()
