"""The one that closes what others sent: never here, always in the end."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from pathlib import Path
from unittest import mock

import pytest

from treeguard._transport import closing
from treeguard._transport.closing import Closer, is_plain_pipe, put_away

from ..support.patience import until, wait_until
from ..support.slow import LINGER, slow_to_close


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def some(number: int = 1) -> list[int]:
    return [os.open("/dev/null", os.O_RDONLY) for _ in range(number)]


def test_they_are_closed_elsewhere() -> None:
    """By another thread, which reports it. The caller continues at once."""
    closer, told = Closer(), threading.Event()
    writer, reader = slow_to_close()
    began = time.monotonic()
    fd = writer.detach()
    closer.close([fd], told.set)
    assert time.monotonic() - began < LINGER / 2
    assert not told.is_set()
    wait_until(told.is_set, "it is closed")
    assert not is_open(fd)
    reader.close()


def test_what_takes_its_time_holds_up_nobody() -> None:
    """Behind one that is slow others are closed by another thread, while there are threads."""
    closer = Closer()
    writer, reader = slow_to_close()
    began = time.monotonic()
    closer.close([writer.detach()])
    (fd,) = some()
    closer.close([fd])
    wait_until(lambda: not is_open(fd), "the other is closed")
    assert time.monotonic() - began < LINGER / 2
    reader.close()


def test_control_one_thread_alone_is_held_up() -> None:
    """With one thread the other waits."""
    closer = Closer(threads=1)
    writer, reader = slow_to_close()
    began = time.monotonic()
    closer.close([writer.detach()])
    (fd,) = some()
    closer.close([fd])
    wait_until(lambda: not is_open(fd), "the other is closed")
    assert time.monotonic() - began > LINGER / 2
    reader.close()


async def test_where_no_thread_can_be_had_they_wait() -> None:
    """Nothing is closed here, nothing leaks, and nobody has to ask again."""
    closer, told = Closer(), threading.Event()
    fds = some(3)
    with mock.patch.object(threading.Thread, "start", side_effect=RuntimeError("can't start new thread")):
        closer.close(fds, told.set)
        assert all(map(is_open, fds))
    await until(told.is_set, "they are closed when there is one")
    assert not any(map(is_open, fds))


def test_an_error_of_one_is_none_of_the_others() -> None:
    """A number that is no descriptor any more is passed over."""
    closer, told = Closer(), threading.Event()
    gone, fd = some(2)
    os.close(gone)
    closer.close([gone, fd], told.set)
    wait_until(told.is_set, "it is closed")
    assert not is_open(fd)


async def test_the_other_end_sees_the_end_at_once() -> None:
    """Also if no thread is there to close it. Nothing can be sent any more."""
    ours, theirs = socket.socketpair()
    with mock.patch.object(threading.Thread, "start", side_effect=RuntimeError), theirs:
        number = ours.fileno()
        put_away(ours)
        put_away(ours)
        assert theirs.recv(1) == b""
        with pytest.raises(BrokenPipeError):
            theirs.send(b"x")
    await until(lambda: not is_open(number), "it is closed")


def test_what_is_a_plain_pipe(tmp_path: Path) -> None:
    """One without a name: a name is somewhere, and whose that is it is not asked."""
    read, write = os.pipe()
    os.mkfifo(tmp_path / "pipe:[1]")
    named = os.open(tmp_path / "pipe:[1]", os.O_RDONLY | os.O_NONBLOCK)
    file = os.open(tmp_path, os.O_RDONLY)
    assert [is_plain_pipe(fd) for fd in (read, write, named, file)] == [True, True, False, False]
    for fd in (read, write, named, file):
        os.close(fd)
    assert not is_plain_pipe(file)


def test_a_forked_copy_has_its_own() -> None:
    """The thread of the original is not in it."""
    done = threading.Event()
    closing.close_elsewhere(some(), done.set)
    wait_until(done.is_set, "it is closed")
    child = os.fork()
    if child == 0:
        told = threading.Event()
        closing.close_elsewhere(some(), told.set)
        os._exit(0 if told.wait(5) else 1)
    assert os.waitpid(child, 0)[1] == 0


async def test_control_a_loop_stands_still_for_what_it_closes_itself() -> None:
    """The same socket."""
    writer, reader = slow_to_close()
    loop = asyncio.get_running_loop()
    began = loop.time()
    writer.close()
    assert loop.time() - began > LINGER / 2
    reader.close()
