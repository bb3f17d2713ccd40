"""Identifies the process at the other end of a Unix socket, as the kernel reports it: unix(7), pidfd_open(2)."""

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

#: Since Linux 6.5. Python's socket module does not define them.
_SO_PASSPIDFD = 76
_SO_PEERPIDFD = 77
_SCM_PIDFD = 4

#: Since Linux 6.16. A process that sends descriptors gets EPERM then.
_SO_PASSRIGHTS = 83

#: The descriptors needed to identify a process: handles of it, and files opened below /proc.
_ROOM = 5

_UCRED = struct.Struct("iII")


class Sender(NamedTuple):
    """A process: its id (0 if unknown), its user, and a handle of it if the kernel provides one."""

    pid: int
    uid: int
    handle: int | None


def ask_for_senders(sock: socket.socket) -> None:
    """Makes the socket report the sender of what arrives. Sockets accepted from a listening socket do so too."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    with contextlib.suppress(OSError):  # before Linux 6.5
        sock.setsockopt(socket.SOL_SOCKET, _SO_PASSPIDFD, 1)


def refuse_descriptors(sock: socket.socket) -> bool:
    """Makes the socket, and sockets accepted from it, refuse descriptors. Returns whether the kernel supports that.

    Call this before anything can have arrived. Otherwise data that waits to be read loses the descriptors that came
    with it, and the kernel closes them in the reading thread. If this returns False, the caller must close what
    arrives, but not on an event loop.
    """
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_PASSRIGHTS, 0)
    except OSError:
        return False
    return True


def check_room(number: int = 0) -> None:
    """Raises OSError (EMFILE, ENFILE) if too few descriptors are free to identify a process and open ``number`` more.

    Call this first: without free descriptors the kernel provides no handle and /proc cannot be read, so that a member
    looks like a process outside the tree.
    """
    own: list[int] = []
    try:
        for _ in range(_ROOM + number):
            own.append(os.open("/", os.O_PATH | os.O_CLOEXEC))
    finally:
        for fd in own:
            os.close(fd)


def sender(ancillary: Ancillary) -> Sender:
    """Returns the sender. With CAP_SYS_ADMIN a process may name another process, and with CAP_SETUID another user.

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
    """Yields the process that connected. Closes its handle afterwards."""
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
    """Returns the received descriptors that must be closed: those from the sender, and those from the kernel."""
    sent: list[int] = []
    handles: list[int] = []
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            sent += _numbers(data)
        elif level == socket.SOL_SOCKET and kind == _SCM_PIDFD:
            handles += [fd for fd in _numbers(data) if fd >= 0]  # A negative number is an error: the process is gone.
    return sent, handles


def is_member(who: Sender, belongs: Callable[[int], bool]) -> bool:
    """Returns whether the process is alive and belongs to the tree, according to ``belongs``.

    The process id is checked first, then the handle: if the process has not ended by then, the id was its own. If the
    kernel provides no handle, this opens one, so that only the time between sending and this call is unprotected.
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
    """Returns a number that is unique to the process of a handle (since Linux 6.9), or None if there is none."""
    if handle is None:
        return None
    seen = os.fstat(handle)
    return None if seen.st_dev == _device_of_all() else seen.st_ino


@functools.cache
def _device_of_all() -> int:
    """Returns the device for which all handles, and many other objects without a file, share one inode number."""
    with select.epoll() as fileless:
        return os.fstat(fileless.fileno()).st_dev


def has_ended(handle: int) -> bool:
    """Returns whether the process of a handle has ended."""
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(0))


def _numbers(data: bytes) -> array.array[int]:
    whole = len(data) - len(data) % array.array("i").itemsize
    return array.array("i", data[:whole])
