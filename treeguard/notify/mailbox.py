"""A socket that the processes of a tree send notifications to, and nobody else is heard on."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import secrets
import socket
import threading
from collections.abc import Callable, Sequence

from ..transport.credentials import Sender, ask_for_senders, descriptors, sender
from .notification import LONGEST

__all__ = ["Mailbox"]

#: Datagrams that are read before the event loop gets its turn again.
_AT_ONCE = 64
#: The kernel queues fewer: net.unix.max_dgram_qlen is 10, or 512 where somebody raised it.
_AT_MOST = 4096
#: Room for as many descriptors as one datagram can carry (SCM_MAX_FD), credentials and a handle.
_ANCILLARY = socket.CMSG_SPACE(253 * 4) + socket.CMSG_SPACE(12) + socket.CMSG_SPACE(4)

Receive = Callable[[bytes, Sender], None]


class Mailbox:
    """A datagram socket at an abstract address (unix(7)), which is gone with its last descriptor, however that came.

    ``receive`` is called with each datagram that is not too long, and its sender, whose handle is closed afterwards.
    Descriptors that were sent along are closed, in the order in which they came: that is what a sender waits for who
    wants to know that all before it was read.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing = False
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        name = f"treeguard/{secrets.token_hex(16)}"
        try:
            ask_for_senders(self._socket)
            self._socket.bind("\0" + name)
        except BaseException:
            self._socket.close()
            raise
        #: As ``NOTIFY_SOCKET`` has it: an abstract address begins with "@".
        self.address = "@" + name

    def listen(self, loop: asyncio.AbstractEventLoop) -> None:
        """Reads from now on whenever something has arrived. What came before has waited."""
        self._loop = loop
        loop.add_reader(self._socket, self._read_some)

    def drain(self) -> None:
        """Reads what has arrived."""
        self._read(_AT_MOST)

    def close(self) -> None:
        """Reads no more, and lets go of the address."""
        if self._socket.fileno() >= 0:
            self._stop_listening()
            self._socket.close()

    def _stop_listening(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._socket)

    def _read_some(self) -> None:
        self._read(_AT_ONCE)

    def _read(self, datagrams: int) -> None:
        while datagrams and not self._closing and self._socket.fileno() >= 0 and self._read_one():
            datagrams -= 1

    def _read_one(self) -> bool:
        try:
            datagram, ancillary, flags, _ = self._socket.recvmsg(LONGEST, _ANCILLARY, socket.MSG_CMSG_CLOEXEC)
        except OSError:  # nothing there, or nothing to be had of it
            return False
        sent, handles = descriptors(ancillary)
        try:
            if not flags & socket.MSG_TRUNC:
                self._receive(datagram, sender(ancillary))
        finally:
            _close_all(handles)
            self._let_go(sent)
        return True

    def _let_go(self, sent: Sequence[int]) -> None:
        """Closes what was sent. To close can take time, as long as the sender likes: SO_LINGER, a FUSE of its own.

        So this is left to a thread, and nothing more of this tree is read until it is done. Pipes are closed at once.
        """
        slow = []
        for fd in sent:
            if _is_pipe(fd):
                os.close(fd)
            else:
                slow.append(fd)
        if not slow:
            return
        self._closing = True
        self._stop_listening()
        threading.Thread(target=self._close_slowly, args=(slow,), name="treeguard-close", daemon=True).start()

    def _close_slowly(self, fds: Sequence[int]) -> None:
        _close_all(fds)
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(self._resume)

    def _resume(self) -> None:
        self._closing = False
        if self._socket.fileno() >= 0 and self._loop is not None:
            self.listen(self._loop)


def _is_pipe(fd: int) -> bool:
    # Not fstat(2), which asks a file's own file system.
    try:
        fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ)
    except OSError:
        return False
    return True


def _close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        with contextlib.suppress(OSError):  # the file's own; it is closed all the same
            os.close(fd)
