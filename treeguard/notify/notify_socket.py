"""A socket to which the processes of a tree send notifications. Messages of other processes are ignored."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from .._transport.closing import close_elsewhere, is_plain_pipe
from .._transport.credentials import (
    Sender,
    ask_for_senders,
    check_room,
    descriptors,
    sender,
)
from .._transport.descriptors import ANCILLARY, MOST
from .._transport.share import Share
from .notification import LONGEST

__all__ = ["NotifySocket", "strangers_share"]

#: The maximum number of datagrams, and of seconds, in one turn of reading before the event loop continues.
_AT_ONCE = 64
_WHILE = 0.005
#: The same for draining: before a connection is judged, and on closing.
_AT_MOST = 4096
_DRAINED = 0.02
#: What the tree may cost by its messages, and what all processes outside it may cost together: a fraction of a
#: processor, and seconds at once.
_TREE = (0.04, 0.25)
_STRANGERS = (0.02, 0.01)
#: The cost in seconds of waking up the loop and making the call, which cannot be measured from inside the call.
_WAKE = 20e-6
#: Minimum seconds without reading after a share was used up, and seconds after a shortage of resources.
_REST = 0.02
_PAUSE = 0.1
#: The number of descriptors waiting to be closed at which reading stops: as many as can arrive at once.
_SLOW = MOST + 1
#: The kernel's default.
_QUEUED = 10

Receive = Callable[[bytes | None, Sender], bool]


def strangers_share() -> Share:
    """Returns the share of the processor for all processes outside the trees together."""
    return Share(*_STRANGERS)


class NotifySocket:
    """A datagram socket at an abstract address (unix(7)), which vanishes with its last descriptor, even after a crash.

    Every user of the machine can send to it, since /proc/net/unix lists the address. A path that only this user can
    reach would keep other users away, but also daemons that have changed their user or their root directory. So
    messages from processes outside the tree are read, but charged to a separate share.

    ``receive`` is called with each datagram (None if it is too long) and its sender. The sender's handle is closed
    afterwards. ``receive`` returns whether the sender belongs to the tree. The tree and the processes outside it each
    have a share of the processor for their messages. When a share is used up, nothing is read for a while. Several
    sockets can use the same ``strangers``.

    Received descriptors are closed. Plain pipes are closed at once and in order: a sender that waits for this close
    learns that everything before it was read. All other descriptors are closed by another thread meanwhile. While too
    many of them wait, nothing more is read.

    Descriptors cannot be refused with SO_PASSRIGHTS, not even for a while: a barrier is a descriptor, and the kernel
    would close descriptors that are already in the queue, in the thread that reads them.
    """

    def __init__(self, receive: Receive, strangers: Share | None = None) -> None:
        self._receive = receive
        self._strangers = strangers or strangers_share()
        self._own = Share(*_TREE)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listening = False
        self._resting: asyncio.TimerHandle | None = None
        self._slow = 0
        self._missed = False
        self._queued = _queued()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        name = f"treeguard/{secrets.token_hex(16)}"
        try:
            ask_for_senders(self._socket)
            self._socket.bind("\0" + name)
        except BaseException:
            self._socket.close()
            raise
        #: The address in the form of ``NOTIFY_SOCKET``: abstract addresses begin with "@".
        self.address = "@" + name

    def listen(self, loop: asyncio.AbstractEventLoop) -> None:
        """Reads from now on whenever something arrives, beginning with earlier messages. Raises OSError."""
        self._loop = loop
        self._listen()

    def drain(self) -> bool:
        """Reads what has arrived. Returns whether this includes everything sent since the last call.

        It does not if reading rested meanwhile, or if processes outside the tree filled the queue, so that a process of
        the tree may have found no room in it.
        """
        emptied = self._read(_AT_MOST, _DRAINED, rests=False)
        missed, self._missed = self._missed or self._resting is not None, False
        return emptied and not missed

    def close(self) -> None:
        """Reads what is there, stops receiving, and releases the address. Calling it again has no effect."""
        if self._socket.fileno() < 0:
            return
        self._stop_listening()
        self._stop_resting()
        self._loop = None
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        if self._read(_AT_MOST, _DRAINED, rests=False):
            self._socket.close()
        else:  # Unread descriptors are closed with the socket.
            close_elsewhere((self._socket.detach(),))

    # Scheduling.

    def _listen(self) -> None:
        if self._loop is not None and self._resting is None and not self._listening and not self._is_full():
            self._loop.add_reader(self._socket, self._read_some)
            self._listening = True

    def _stop_listening(self) -> None:
        if self._listening and self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._socket)
        self._listening = False

    def _rest(self, seconds: float) -> None:
        self._missed = True
        self._stop_listening()
        if self._resting is None and self._loop is not None and not self._loop.is_closed():
            self._resting = self._loop.call_later(seconds, self._rested)

    def _rested(self) -> None:
        self._resting = None
        try:
            self._listen()
        except OSError:  # The loop cannot watch another descriptor now.
            self._rest(_PAUSE)

    def _stop_resting(self) -> None:
        if self._resting is not None and self._loop is not None and not self._loop.is_closed():
            self._resting.cancel()
        self._resting = None

    def _is_full(self) -> bool:
        """Whether reading has to wait since too many received descriptors are still open."""
        return self._slow >= _SLOW

    # Reading.

    def _read_some(self) -> None:
        self._read(_AT_ONCE, _WHILE, rests=True)

    def _read(self, datagrams: int, seconds: float, *, rests: bool) -> bool:
        """Returns whether nothing is left. With ``rests``, reading ends when a share is used up."""
        until = time.monotonic() + seconds
        began = time.thread_time() - _WAKE
        strangers = False
        for count in range(datagrams):
            try:
                if self._loop is not None and (self._slow or not count):
                    # Without room, the kernel closes descriptors here, in this thread.
                    check_room(MOST if self._slow else 0)
                if self._is_full():
                    self._missed = True
                    self._stop_listening()
                    return False
                heard = self._read_one()
            except BlockingIOError:
                self._missed |= strangers and count > self._queued
                return True
            except OSError:  # Resources are short. Waiting messages are not lost.
                self._rest(_PAUSE)
                return False
            strangers |= not heard
            share = self._own if heard else self._strangers
            now = time.thread_time()
            share.charge(now - began)
            began = now
            wait = share.wait()
            if wait:
                self._rest(max(wait, _REST))
                if rests:
                    return False
            if time.monotonic() > until:
                return False
        return False

    def _read_one(self) -> bool:
        datagram, ancillary, flags, _ = self._socket.recvmsg(LONGEST, ANCILLARY, socket.MSG_CMSG_CLOEXEC)
        sent, handles = descriptors(ancillary)
        try:
            return self._receive(None if flags & socket.MSG_TRUNC else datagram, sender(ancillary))
        finally:
            for fd in handles:
                os.close(fd)
            self._let_go(sent)

    def _let_go(self, sent: Sequence[int]) -> None:
        slow = []
        for fd in sent:
            if is_plain_pipe(fd):
                os.close(fd)
            else:
                slow.append(fd)
        if slow:
            loop, number = self._loop, len(slow)
            self._slow += number

            def closed() -> None:
                if loop is not None:
                    with contextlib.suppress(RuntimeError):  # The loop is closed.
                        loop.call_soon_threadsafe(self._closed, number)

            close_elsewhere(slow, closed)

    def _closed(self, number: int) -> None:
        self._slow -= number
        if self._socket.fileno() >= 0 and self._resting is None:
            self._rested()


def _queued() -> int:
    """Returns how many datagrams the kernel queues before senders have to wait."""
    try:
        return int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text("ascii"))
    except (OSError, ValueError):
        return _QUEUED
