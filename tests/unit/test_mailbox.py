"""The socket that notifications come to: who sent them, what is closed, and what cannot hold it up."""

import array
import asyncio
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from treeguard.notify.mailbox import Mailbox
from treeguard.notify.notification import LONGEST
from treeguard.transport.credentials import Sender, descriptors, sender

from ..support.patience import until

#: Seconds that the close of a socket takes that still has something to say to a peer that reads nothing.
LINGER = 2


@contextmanager
def mailbox() -> Iterator[tuple[Mailbox, list[tuple[bytes, Sender]], socket.socket]]:
    """One, what it received, and a socket that sends to it."""
    received: list[tuple[bytes, Sender]] = []
    box = Mailbox(lambda datagram, who: received.append((datagram, who)))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mine:
        mine.connect("\0" + box.address[1:])
        try:
            yield box, received, mine
        finally:
            box.close()
            box.close()


def with_fds(*fds: int) -> list[tuple[int, int, bytes]]:
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds).tobytes())]


async def test_it_tells_who_sent() -> None:
    """Process and user of the sender, in the order of what was sent; also of what was sent before it listened."""
    with mailbox() as (box, received, mine):
        mine.send(b"first")
        box.listen(asyncio.get_running_loop())
        mine.send(b"")
        mine.send(b"second")
        await until(lambda: len(received) == 3, "all is received")
    assert [datagram for datagram, _ in received] == [b"first", b"", b"second"]
    assert {(who.pid, who.uid) for _, who in received} == {(os.getpid(), os.geteuid())}


async def test_too_long_is_not_received() -> None:
    """What is longer than a notification can be is dropped, not cut."""
    with mailbox() as (box, received, mine):
        box.listen(asyncio.get_running_loop())
        for length in (LONGEST + 1, LONGEST, 100_000):
            mine.send(b"x" * length)
        mine.send(b"end")
        await until(lambda: b"end" in [datagram for datagram, _ in received], "the last is received")
    assert [len(datagram) for datagram, _ in received] == [LONGEST, 3]


async def test_it_has_no_name_afterwards() -> None:
    """Closed, the address is free, and what is sent to it is refused."""
    with mailbox() as (box, _, mine):
        box.close()
        try:
            mine.send(b"late")
        except ConnectionRefusedError:
            return
    raise AssertionError("somebody still listens")


async def test_pipes_are_closed_at_once() -> None:
    """A sender that waits for the end of a pipe knows then that all before it was read."""
    with mailbox() as (box, received, mine):
        read, write = os.pipe()
        mine.send(b"before")
        mine.sendmsg([b"BARRIER=1"], with_fds(write))
        os.close(write)
        box.drain()
        assert [datagram for datagram, _ in received] == [b"before", b"BARRIER=1"]
        assert os.read(read, 1) == b""
        os.close(read)


def slow_to_close() -> tuple[socket.socket, socket.socket]:
    """A connection with more to say than the other end has room for: its last close waits for that, see socket(7)."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        writer = socket.create_connection(server.getsockname())
        reader, _ = server.accept()
    writer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, LINGER))
    writer.setblocking(False)
    try:
        while True:
            writer.send(b"x" * 65536)
    except BlockingIOError:
        return writer, reader


async def test_what_is_slow_to_close_holds_up_its_sender_alone() -> None:
    """The event loop goes on meanwhile; of this mailbox more is read only when it is done."""
    loop = asyncio.get_running_loop()
    with mailbox() as (box, received, mine), mailbox() as (other, heard, sender_of_other):
        for each in (box, other):
            each.listen(loop)
        writer, reader = slow_to_close()
        mine.sendmsg([b"slow"], with_fds(writer.fileno()))
        writer.close()
        mine.send(b"after")
        began = loop.time()
        await until(lambda: received, "the first is received")
        sender_of_other.send(b"meanwhile")
        await until(lambda: heard, "the other is received")
        assert loop.time() - began < LINGER
        assert [datagram for datagram, _ in received] == [b"slow"]
        await until(lambda: len(received) == 2, "the second is received")
        assert loop.time() - began > LINGER / 2
        reader.close()


async def test_control_closed_at_once_it_holds_up_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same socket stops the event loop for its whole time where it is closed like a pipe."""
    monkeypatch.setattr("treeguard.notify.mailbox._is_pipe", lambda fd: True)
    with mailbox() as (box, received, mine):
        writer, reader = slow_to_close()
        mine.sendmsg([b"slow"], with_fds(writer.fileno()))
        writer.close()
        began = asyncio.get_running_loop().time()
        box.drain()
        assert received
        assert asyncio.get_running_loop().time() - began > LINGER / 2
        reader.close()


def test_ancillary_data_of_any_length() -> None:
    """Cut off, empty or strange, it names nobody and nothing."""
    assert sender([]) == Sender(0, -1, None)
    assert sender([(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, b"\1")]) == Sender(0, -1, None)
    assert descriptors([(socket.SOL_SOCKET, socket.SCM_RIGHTS, b"\1\0\0\0\2"), (0, 0, b"")]) == ([1], [])
    handle = (socket.SOL_SOCKET, 4, struct.pack("i", -3))
    assert sender([handle]).handle is None
    assert descriptors([handle]) == ([], [])
