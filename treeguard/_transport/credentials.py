"""Who is at the other end of a Unix socket, by the word of the kernel: unix(7), pidfd_open(2)."""

from __future__ import annotations

import array
import contextlib
import functools
import os
import select
import socket
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

__all__ = [
    "Sender",
    "ask_for_senders",
    "check_room",
    "descriptors",
    "has_ended",
    "identity",
    "is_member",
    "peer",
    "refuse_descriptors",
    "sender",
]

Ancillary = Iterable[tuple[int, int, bytes]]

#: Of Linux 6.5, and not in Python's socket module.
_SO_PASSPIDFD = 76
_SO_PEERPIDFD = 77
_SCM_PIDFD = 4

#: Of Linux 6.16. Whoever sends descriptors is told EPERM then.
_SO_PASSRIGHTS = 83

#: Descriptors that it takes to find out who somebody is: handles of it, and what is opened below /proc.
_ROOM = 5

_UCRED = struct.Struct("iII")


class Sender(NamedTuple):
    """A process: its number, 0 if that is not known; its user; and a handle of it where the kernel gives one."""

    pid: int
    uid: int
    handle: int | None


def ask_for_senders(sock: socket.socket) -> None:
    """From now on what arrives says who sent it; what a listening socket accepts does too."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    with contextlib.suppress(OSError):  # before Linux 6.5
        sock.setsockopt(socket.SOL_SOCKET, _SO_PASSPIDFD, 1)


def refuse_descriptors(sock: socket.socket) -> bool:
    """From now on nothing can be sent along with what is sent; also on what a listening socket accepts.

    To be done before anything can have come: what waits to be read already loses what came with it, and the kernel
    closes that in the thread that reads. Whether the kernel knows how to refuse; where it does not, what comes is to be
    closed, not on an event loop.
    """
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_PASSRIGHTS, 0)
    except OSError:
        return False
    return True


def check_room(number: int = 0) -> None:
    """Raises OSError (EMFILE, ENFILE) where too few descriptors are left to find out who somebody is, and ``number``.

    To be asked first: without them the kernel hands out no handle, and nobody is found below /proc, so that a member
    looks like a stranger.
    """
    own: list[int] = []
    try:
        for _ in range(_ROOM + number):
            own.append(os.open("/", os.O_PATH | os.O_CLOEXEC))
    finally:
        for fd in own:
            os.close(fd)


def sender(ancillary: Ancillary) -> Sender:
    """Who sent. A process with CAP_SYS_ADMIN may name another process, one with CAP_SETUID another user.

    The handle is among :func:`descriptors`.
    """
    pid, uid, handle = 0, -1, None
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS and len(data) >= _UCRED.size:
            pid, uid, _ = _UCRED.unpack_from(data)
        elif level == socket.SOL_SOCKET and kind == _SCM_PIDFD:
            handle = next((fd for fd in _numbers(data) if fd >= 0), None)
    return Sender(pid, uid, handle)


@contextlib.contextmanager
def peer(sock: socket.socket) -> Iterator[Sender]:
    """The process that connected. Its handle is closed in the end."""
    pid, uid, _ = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    try:
        handle = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
    except OSError:  # before Linux 6.5, or the process is gone
        yield Sender(pid, uid, None)
        return
    try:
        yield Sender(pid, uid, handle)
    finally:
        os.close(handle)


def descriptors(ancillary: Ancillary) -> tuple[list[int], list[int]]:
    """What has come that must be closed: what the sender sent, and what the kernel did."""
    sent: list[int] = []
    handles: list[int] = []
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            sent += _numbers(data)
        elif level == socket.SOL_SOCKET and kind == _SCM_PIDFD:
            handles += [fd for fd in _numbers(data) if fd >= 0]  # An error stands in the place of one that is gone.
    return sent, handles


def is_member(who: Sender, belongs: Callable[[int], bool]) -> bool:
    """Whether the process is one that ``belongs``, and lives.

    First the number is looked at, then the handle: if the process has not ended by then, the number was its own. Where
    the kernel hands out no handle, one is made here, so that only the moment since the process sent is left.
    """
    if who.pid <= 0:
        return False
    if who.handle is not None:
        return belongs(who.pid) and not has_ended(who.handle)
    try:
        own = os.pidfd_open(who.pid)
    except ProcessLookupError:
        return False
    except OSError:  # before Linux 5.3, or forbidden by a filter
        return belongs(who.pid)
    try:
        return belongs(who.pid) and not has_ended(own)
    finally:
        os.close(own)


def identity(handle: int | None) -> int | None:
    """A number that only the process of a handle ever has, from Linux 6.9 on. None: there is none."""
    if handle is None:
        return None
    seen = os.fstat(handle)
    return None if seen.st_dev == _device_of_all() else seen.st_ino


@functools.cache
def _device_of_all() -> int:
    """Where a handle's number is that of all handles, and of much else that has no file."""
    with select.epoll() as fileless:
        return os.fstat(fileless.fileno()).st_dev


def has_ended(handle: int) -> bool:
    """Whether the process of a handle has ended."""
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(0))


def _numbers(data: bytes) -> array.array[int]:
    whole = len(data) - len(data) % array.array("i").itemsize
    return array.array("i", data[:whole])
