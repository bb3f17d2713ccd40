"""A socket that the processes of a tree send notifications to, and nobody else is heard on."""

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

#: Datagrams, and seconds, that are read before the event loop gets its turn again.
_AT_ONCE = 64
_WHILE = 0.005
#: The same when it has to be known what has arrived: before somebody is judged, and in the end.
_AT_MOST = 4096
_DRAINED = 0.02
#: Of a processor, and seconds at once: what the tree may cost by what it sends, and what all strangers may together.
_TREE = (0.04, 0.25)
_STRANGERS = (0.02, 0.01)
#: What it costs the loop to wake up and call, which cannot be measured from in here.
_WAKE = 20e-6
#: Seconds without reading: at least, for who has used up a share; and where something was short.
_REST = 0.02
_PAUSE = 0.1
#: Descriptors that may wait to be closed before anything more is read: as many as can come at once.
_SLOW = MOST + 1
#: As the kernel has it where nobody has set it.
_QUEUED = 10

Receive = Callable[[bytes | None, Sender], bool]


def strangers_share() -> Share:
    """What all who are not of the trees may cost together."""
    return Share(*_STRANGERS)


class NotifySocket:
    """A datagram socket at an abstract address (unix(7)), which is gone with its last descriptor, however that came.

    Every user of the machine can send to it: the address is listed in /proc/net/unix. A path that only this user may
    come to would keep others away, and with them daemons that have become another user, or have another root directory.
    So strangers are heard out, at their own cost.

    ``receive`` is called with each datagram, None for one that is too long, and its sender, whose handle is closed
    afterwards. It says whether the sender is of the tree: each side has a share of the processor for what it sends, and
    when that is used up nothing is read for a while. ``strangers`` can be shared by many mailboxes.

    Descriptors that were sent along are closed. Plain pipes at once, in the order in which they came: that is what a
    sender waits for who wants to know that all before it was read. All else is closed by a thread, meanwhile; while
    too many wait for that nothing more is read.

    They cannot be refused (SO_PASSRIGHTS), nor for a while: a barrier is one, and what is in the queue by then would be
    closed by who reads it.
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
        #: As ``NOTIFY_SOCKET`` has it: an abstract address begins with "@".
        self.address = "@" + name

    def listen(self, loop: asyncio.AbstractEventLoop) -> None:
        """Reads from now on whenever something has arrived. What came before has waited. Raises OSError."""
        self._loop = loop
        self._listen()

    def drain(self) -> bool:
        """Reads what has arrived. Whether that was all that anybody wanted to say since this was asked last.

        It was not where reading rested meanwhile, or where strangers filled the queue: then who is of the tree may have
        found no room in it.
        """
        emptied = self._read(_AT_MOST, _DRAINED, rests=False)
        missed, self._missed = self._missed or self._resting is not None, False
        return emptied and not missed

    def close(self) -> None:
        """Reads what is there, lets nobody send any more, and lets go of the address. Again is no error."""
        if self._socket.fileno() < 0:
            return
        self._stop_listening()
        self._stop_resting()
        self._loop = None
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        if self._read(_AT_MOST, _DRAINED, rests=False):
            self._socket.close()
        else:  # What was sent along with the rest goes with it.
            close_elsewhere((self._socket.detach(),))

    # When it is read.

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
        except OSError:  # The loop cannot watch one more descriptor now.
            self._rest(_PAUSE)

    def _stop_resting(self) -> None:
        if self._resting is not None and self._loop is not None and not self._loop.is_closed():
            self._resting.cancel()
        self._resting = None

    def _is_full(self) -> bool:
        """Whether nothing can be read since too much of what has come is open still."""
        return self._slow >= _SLOW

    # Reading.

    def _read_some(self) -> None:
        self._read(_AT_ONCE, _WHILE, rests=True)

    def _read(self, datagrams: int, seconds: float, *, rests: bool) -> bool:
        """Whether nothing is left. ``rests``: whether it ends when a share is used up."""
        until = time.monotonic() + seconds
        began = time.thread_time() - _WAKE
        strangers = False
        for count in range(datagrams):
            try:
                if self._loop is not None and (self._slow or not count):
                    # What there is no room for the kernel closes in here.
                    check_room(MOST if self._slow else 0)
                if self._is_full():
                    self._missed = True
                    self._stop_listening()
                    return False
                heard = self._read_one()
            except BlockingIOError:
                self._missed |= strangers and count > self._queued
                return True
            except OSError:  # Something is short. What waits is not lost.
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
                    with contextlib.suppress(RuntimeError):  # The loop was closed meanwhile.
                        loop.call_soon_threadsafe(self._closed, number)

            close_elsewhere(slow, closed)

    def _closed(self, number: int) -> None:
        self._slow -= number
        if self._socket.fileno() >= 0 and self._resting is None:
            self._rested()


def _queued() -> int:
    """How many datagrams the kernel keeps in a queue before senders have to wait."""
    try:
        return int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text("ascii"))
    except (OSError, ValueError):
        return _QUEUED
