"""The socket that notifications come to: who sent them, what is closed, and what cannot hold it up."""

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from treeguard._transport.credentials import Sender, descriptors, sender
from treeguard.notify.notification import LONGEST
from treeguard.notify.notify_socket import NotifySocket

from ..support.patience import until
from ..support.shortage import no_descriptors
from ..support.slow import LINGER, slow_to_close, with_fds


@contextmanager
def mailbox(heeds: bool = True) -> Iterator[tuple[NotifySocket, list[tuple[bytes, Sender]], socket.socket]]:
    """One, what it received, and a socket that sends to it."""
    received: list[tuple[bytes, Sender]] = []

    def receive(datagram: bytes | None, who: Sender) -> bool:
        if datagram is not None:
            received.append((datagram, who))
        return heeds

    box = NotifySocket(receive)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mine:
        mine.connect("\0" + box.address[1:])
        try:
            yield box, received, mine
        finally:
            box.close()
            box.close()


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


async def test_what_is_slow_to_close_holds_up_nobody() -> None:
    """The event loop goes on meanwhile, and so does the mailbox that it was sent to."""
    loop = asyncio.get_running_loop()
    with mailbox() as (box, received, mine):
        box.listen(loop)
        writer, reader = slow_to_close()
        mine.sendmsg([b"slow"], with_fds(writer.fileno()))
        writer.close()
        mine.send(b"after")
        began = loop.time()
        await until(lambda: len(received) == 2, "both are received")
        assert box.drain()
        assert loop.time() - began < LINGER / 2
        reader.close()


async def test_what_is_slow_to_close_is_closed_elsewhere_in_the_end_too() -> None:
    """Unread data is dropped together with the socket, outside the loop."""
    loop = asyncio.get_running_loop()
    with mailbox() as (box, received, mine):
        writer, reader = slow_to_close()
        mine.sendmsg([b"slow"], with_fds(writer.fileno()))
        writer.close()
        began = loop.time()
        box.close()
        assert loop.time() - began < LINGER / 2
        assert [datagram for datagram, _ in received] == [b"slow"]
        reader.close()


async def test_control_closed_at_once_it_holds_up_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same socket stops the event loop for its whole time where it is closed like a pipe."""
    monkeypatch.setattr("treeguard.notify.notify_socket.is_plain_pipe", lambda fd: True)
    with mailbox() as (box, received, mine):
        writer, reader = slow_to_close()
        mine.sendmsg([b"slow"], with_fds(writer.fileno()))
        writer.close()
        began = asyncio.get_running_loop().time()
        box.drain()
        assert received
        assert asyncio.get_running_loop().time() - began > LINGER / 2
        reader.close()


async def test_too_many_to_be_closed_are_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A sender has few descriptors open here at a time. Until they are closed, drain() reads nothing and says so."""
    closers: list[tuple[Sequence[int], Callable[[], None]]] = []
    monkeypatch.setattr("treeguard.notify.notify_socket.close_elsewhere", lambda fds, done: closers.append((fds, done)))
    with mailbox() as (box, received, mine), (tmp_path / "file").open("w") as file:
        box.listen(asyncio.get_running_loop())
        for _ in range(2):
            mine.sendmsg([b"many"], with_fds(*[file.fileno()] * 200))
        mine.send(b"after")
        await until(lambda: len(received) == 2, "the first ones are received")
        assert not box.drain()
        assert len(received) == 2
        while closers:
            fds, done = closers.pop()
            for fd in fds:
                os.close(fd)
            done()
            await until(lambda: closers or len(received) == 3, "it goes on")
        assert len(received) == 3


async def test_without_descriptors_it_waits_for_some() -> None:
    """Without free descriptors nothing is read, drain() says so, and nothing is lost."""
    with mailbox() as (box, received, mine):
        box.listen(asyncio.get_running_loop())
        with no_descriptors():
            mine.send(b"READY=1")
            assert not box.drain()
            assert not received
        await until(lambda: received, "it is read when there are some again")
        assert box.drain() or box.drain()


async def test_a_crowd_of_strangers_is_no_silence() -> None:
    """Where strangers fill the queue a member may have found no room in it."""
    with mailbox(heeds=False) as (box, received, mine):
        mine.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                mine.send(b"x")
        assert not box.drain()
        assert len(received) > 1
        assert box.drain()


async def test_control_a_few_strangers_hide_nothing() -> None:
    """There was room."""
    with mailbox(heeds=False) as (box, received, mine):
        mine.send(b"x")
        assert box.drain()
        assert received


async def test_one_who_sends_much_is_not_read_for_a_while() -> None:
    """By then nobody can say that nothing has come."""
    with mailbox(heeds=False) as (box, received, mine):
        box.listen(asyncio.get_running_loop())
        mine.setblocking(False)

        for _ in range(100_000):
            with contextlib.suppress(BlockingIOError):
                mine.send(b"x")
            box.drain()
            if not box.drain():
                break
        else:
            raise AssertionError("it is read for ever")
        mine.send(b"member")
        await asyncio.sleep(0)
        assert b"member" not in [datagram for datagram, _ in received]
        await until(lambda: b"member" in [datagram for datagram, _ in received], "it goes on")


async def test_a_tree_is_no_stranger() -> None:
    """Its share is its own."""
    with mailbox() as (box, received, mine):
        box.listen(asyncio.get_running_loop())
        for _ in range(100):
            mine.send(b"x" * 1000)
            # Once more on a machine that was busy for as long as a look may take.
            assert any(box.drain() for _ in range(5))
        assert len(received) == 100


def test_ancillary_data_of_any_length() -> None:
    """Cut off, empty or strange, it names nobody and nothing."""
    assert sender([]) == Sender(0, -1, None)
    assert sender([(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, b"\1")]) == Sender(0, -1, None)
    assert descriptors([(socket.SOL_SOCKET, socket.SCM_RIGHTS, b"\1\0\0\0\2"), (0, 0, b"")]) == ([1], [])
    handle = (socket.SOL_SOCKET, 4, struct.pack("i", -3))
    assert sender([handle]).handle is None
    assert descriptors([handle]) == ([], [])
