"""A supervisor's side of a connection: a message costs its sender, and the loop next to nothing."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import time
from collections.abc import Callable, Iterator
from unittest import mock

import pytest

from treeguard._core.processes.system import get_process
from treeguard._transport import credentials as credentials_of
from treeguard._transport import transport_on
from treeguard._transport.credentials import Sender
from treeguard._transport.share import Share
from treeguard._wire.channel import Channel
from treeguard._wire.jsonrpc import Notification, ProtocolError, Request
from treeguard._wire.message_limits import ControlLimits
from treeguard.control.listener_unix import Listener

from ..support.patience import until
from ..support.shortage import no_descriptors
from ..support.slow import LINGER, slow_to_close, with_fds

CALL = b'{"jsonrpc":"2.0","method":"storage.get"}\n'
BEAT = b'{"jsonrpc":"2.0","method":"heartbeat"}\n'


class Side:
    """What a channel is for. Heartbeats are no work."""

    def __init__(self) -> None:
        self.channel: Channel
        self.taken: list[str] = []
        self.reason: str | None = None

    def take(self, message: Request | Notification | ProtocolError) -> None:
        method = "" if isinstance(message, ProtocolError) else message.method
        self.taken.append(method)
        if method == "heartbeat":
            self.channel.waste()

    def ended(self, reason: str, *, cut_off: bool) -> None:
        self.reason = reason


@contextlib.contextmanager
def opened(
    share: Share | None = None, vet: Callable[[Sender], bool] | None = None
) -> Iterator[tuple[Side, socket.socket]]:
    """A channel on the running loop, and the other end."""
    ours, theirs = socket.socketpair()
    credentials_of.ask_for_senders(ours)
    side = Side()
    side.channel = Channel(transport_on(ours, asyncio.get_running_loop()), ControlLimits(), side)
    side.channel.be_wary(share or Share(0.04, 0.25))
    side.channel.start(vet)
    theirs.setblocking(False)
    with theirs:
        try:
            yield side, theirs
        finally:
            side.channel.close("the test is over")


def fill(sock: socket.socket, data: bytes) -> int:
    """Sends as much as there is room for."""
    sent = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            sent += sock.send(data)
    return sent


async def longest_turn(seconds: float) -> float:
    """How long the loop's longest turn took within so much of its work."""
    loop, worst = asyncio.get_running_loop(), 0.0
    end = loop.time() + seconds
    while (before := loop.time()) < end:
        used = time.thread_time()
        await asyncio.sleep(0)
        worst = max(worst, min(loop.time() - before, time.thread_time() - used))
    return worst


async def test_blank_lines_cost_their_sender() -> None:
    """They take no long turns, nor much of the processor; what comes after them is read in the end."""
    with opened() as (side, theirs):
        used = time.thread_time()
        began = time.monotonic()
        while time.monotonic() - began < 1:
            fill(theirs, b"\n" * 65536)
            before = time.thread_time()
            await asyncio.sleep(0.001)
            assert time.thread_time() - before < 0.05
        assert time.thread_time() - used < 0.8
        theirs.setblocking(True)
        await asyncio.to_thread(theirs.sendall, b"\n" + CALL)
        await until(lambda: side.taken, "the call is served")
        assert side.taken == ["storage.get"]


async def test_what_is_no_work_has_a_share() -> None:
    """Beyond it the other side is not read for a while, and drain() does not claim that everything was read."""
    with opened(Share(0.01, 0.001)) as (side, theirs):
        sent = fill(theirs, BEAT * 100)
        await until(lambda: side.taken, "some are heard")
        await asyncio.sleep(0)
        assert not side.channel.drain()
        assert len(side.taken) < sent // len(BEAT)
        await until(lambda: len(side.taken) == sent // len(BEAT), "all are heard in the end")
        await until(side.channel.drain, "and that is known")


async def test_work_has_no_share() -> None:
    """Calls have quotas of their own."""
    with opened(Share(0.01, 0.001)) as (side, theirs):
        sent = fill(theirs, CALL * 100)
        for _ in range(20):
            assert side.channel.drain() or side.channel.drain()
        assert len(side.taken) == sent // len(CALL)


async def test_pieces_are_no_work() -> None:
    """A line that comes byte by byte costs a turn for each."""
    with opened(Share(0.01, 0.0005)) as (side, theirs):
        for _ in range(1000):
            theirs.send(b"[")
            if not side.channel.drain():
                return
        pytest.fail("it is read for ever")


async def test_draining_has_an_end() -> None:
    """However much has come: what was not read is told."""
    with opened(Share(1000, 1000)) as (side, theirs):
        sent = fill(theirs, CALL)
        began = time.monotonic()
        with mock.patch.object(side, "take", side_effect=lambda _: time.sleep(0.001)):  # what each message takes
            assert not side.channel.drain()
        assert time.monotonic() - began < 1
        assert sent
        await until(side.channel.drain, "the rest is read")


@pytest.mark.parametrize("refuses", [True, False])
@pytest.mark.parametrize("vetted", [True, False])
async def test_descriptors_do_not_hold_up_the_loop(
    refuses: bool, vetted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before hello and after it, and when the connection is closed: they are refused, or closed elsewhere."""
    if not refuses:
        monkeypatch.setattr("treeguard._transport.sockets.refuse_descriptors", lambda sock: False)
    loop = asyncio.get_running_loop()
    with opened(vet=(lambda who: True) if vetted else None) as (side, theirs):
        readers = []
        began = loop.time()
        for i in range(2):
            writer, reader = slow_to_close()
            readers.append(reader)
            try:
                theirs.sendmsg([CALL], with_fds(writer.fileno()))
            except PermissionError:
                assert refuses
                theirs.send(CALL)
                writer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes(8))
            # Where it was sent, the queue holds it: this close is not the last one.
            writer.close()
            await until(lambda i=i: len(side.taken) > i, "it is heard")  # type: ignore[misc]
        side.channel.close("enough")
        assert loop.time() - began < LINGER / 2
        for reader in readers:
            reader.close()


async def test_what_was_not_read_does_not_hold_up_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where descriptors cannot be refused, those that wait in a queue go with it. The other side sees the end."""
    monkeypatch.setattr("treeguard._transport.sockets.refuse_descriptors", lambda sock: False)
    loop = asyncio.get_running_loop()
    with opened() as (side, theirs):
        side.channel.pause()
        writer, reader = slow_to_close()
        theirs.sendmsg([CALL], with_fds(writer.fileno()))
        writer.close()
        began = loop.time()
        side.channel.close("enough")
        assert loop.time() - began < LINGER / 2
        with contextlib.suppress(ConnectionResetError):
            assert theirs.recv(1) == b""
        reader.close()


@pytest.mark.parametrize("left", range(7))
async def test_with_few_descriptors_nobody_is_sent_away(left: int) -> None:
    """A process that connects is accepted, or waits until it can be identified."""
    listener = Listener()
    with socket.socket(socket.AF_UNIX) as mine:
        mine.connect(listener.address)
        came = None
        with no_descriptors(but=left), contextlib.suppress(OSError):
            came = listener.accept(lambda pid: get_process(pid) is not None)
        came = came or listener.accept(lambda pid: get_process(pid) is not None)
        assert came is not None
        assert came.end is not None
        came.end.close()
    listener.close()


async def test_without_descriptors_a_sender_is_not_judged() -> None:
    """The sender cannot be identified at that moment, but is identified later."""
    asked: list[Sender] = []

    def vet(who: Sender) -> bool:
        asked.append(who)
        return True

    with opened(vet=vet) as (side, theirs):
        with no_descriptors():
            theirs.send(CALL)
            assert not side.channel.drain()
            assert not asked
        await until(lambda: side.taken, "it is heard")
        assert [who.handle is not None for who in asked] == [True]


async def test_a_shortage_ends_no_connection() -> None:
    """What cannot be read for want of memory is read later."""
    with opened() as (side, theirs):
        theirs.send(CALL)
        real = side.channel._transport.read
        with mock.patch.object(side.channel._transport, "read", side_effect=OSError(errno.ENOMEM, "no memory")):
            assert not side.channel.drain()
        assert side.channel._transport.read == real
        await until(lambda: side.taken, "it is heard")
        assert side.reason is None


async def test_a_loop_that_cannot_watch_it_does_so_later() -> None:
    """Reading does not stop for good."""
    with opened(Share(1, 0.0001)) as (side, theirs):
        fill(theirs, BEAT * 100)
        await until(lambda: side.channel._resting, "it rests")
        with mock.patch.object(side.channel._transport, "watch_reading", side_effect=OSError(errno.ENOSPC, "full")):
            side.channel._rested()
        await until(lambda: not side.channel._resting, "it goes on")
        theirs.setblocking(True)
        await asyncio.to_thread(theirs.sendall, CALL)
        await until(lambda: "storage.get" in side.taken, "it is heard")


async def test_a_flood_takes_no_long_turns() -> None:
    """Of anything."""
    for data in (b"\n" * 65536, BEAT * 1000, b"x" * 1000 + b"\n", CALL * 1000):
        with opened() as (_, theirs):
            fill(theirs, data)
            assert await longest_turn(0.2) < 0.05
