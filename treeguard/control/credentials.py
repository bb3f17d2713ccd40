"""Who is at the other end of a socket, by the word of the kernel: unix(7), pidfd_open(2)."""

from __future__ import annotations

import array
import contextlib
import os
import select
import socket
import struct
from collections.abc import Callable, Iterator

from ..channel import Ancillary

__all__ = ["ask_for_senders", "is_member", "peer", "sender"]

#: Of Linux 6.5, and not in Python's socket module.
_SO_PASSPIDFD = 76
_SO_PEERPIDFD = 77
_SCM_PIDFD = 4

_UCRED = struct.Struct("3i")

IsMember = Callable[[int], bool]


def ask_for_senders(sock: socket.socket) -> None:
    """From now on what arrives says who sent it; what a listening socket accepts does too."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    with contextlib.suppress(OSError):  # before Linux 6.5
        sock.setsockopt(socket.SOL_SOCKET, _SO_PASSPIDFD, 1)


def sender(ancillary: Ancillary) -> tuple[int, int | None]:
    """The process that sent, 0 if that is not known, and a handle of it, which stays the caller's of ``recvmsg``.

    A process with CAP_SYS_ADMIN may name another one.
    """
    number, handle = 0, None
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS and len(data) >= _UCRED.size:
            number = _UCRED.unpack_from(data)[0]
        elif level == socket.SOL_SOCKET and kind == _SCM_PIDFD:
            handle = next(iter(array.array("i", data)), None)
    return number, handle


@contextlib.contextmanager
def peer(sock: socket.socket) -> Iterator[tuple[int, int | None]]:
    """The process that connected, and a handle of it where the kernel gives one; it is closed in the end."""
    number: int = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))[0]
    try:
        handle = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
    except OSError:  # before Linux 6.5, or the process is gone
        yield number, None
        return
    try:
        yield number, handle
    finally:
        os.close(handle)


def is_member(who: tuple[int, int | None], belongs: IsMember) -> bool:
    """Whether the process is one that ``belongs``, and lives.

    First the number is looked at, then the handle: if the process has not ended by then, the number was its own. Where
    the kernel hands out no handle, one is made here, so that only the moment since the process sent is left.
    """
    number, handle = who
    if number <= 0:
        return False
    if handle is not None:
        return belongs(number) and not _has_ended(handle)
    try:
        own = os.pidfd_open(number)
    except ProcessLookupError:
        return False
    except OSError:  # before Linux 5.3, or forbidden by a filter
        return belongs(number)
    try:
        return belongs(number) and not _has_ended(own)
    finally:
        os.close(own)


def _has_ended(handle: int) -> bool:
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(0))
