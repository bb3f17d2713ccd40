"""One who is not of the tree, and sends whatever it can: ``python -m benchmarks.stranger WHAT ADDRESS SECONDS [N]``.

It becomes another user, where it may, unless ``ADDRESS`` is ``own``: then it is of the tree, and its environment has
the address. Else that is as ``NOTIFY_SOCKET`` has it, or the path of a control socket. ``WHAT``: ``datagrams``,
``long`` ones that are cut off, ``descriptors`` that are slow to close, ``connections``, ``half`` of a hello on each of
many, ``garbage``. N processes do it at once.
"""

from __future__ import annotations

import array
import contextlib
import os
import socket
import struct
import sys
import time
from collections.abc import Callable

__all__ = ["DATAGRAMS", "LINGER", "main", "slow_to_close", "with_fds"]

#: Seconds that the close of a socket takes that still has something to say to a peer that reads nothing.
LINGER = 2
#: Bytes that a connection has room for: there are many, and what they hold is the machine's memory.
_SMALL = 4096
_NOBODY = 65534
DATAGRAMS = ("datagrams", "long", "descriptors")
#: Connections that are kept open at once.
_KEPT = 50


def slow_to_close() -> tuple[socket.socket, socket.socket]:
    """A connection with more to say than the other end has room for: its last close waits for that, see socket(7)."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL)
        writer = socket.socket()
        writer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SMALL)
        writer.connect(server.getsockname())
        reader, _ = server.accept()
    writer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, LINGER))
    writer.setblocking(False)
    try:
        while True:
            writer.send(b"x" * 65536)
    except BlockingIOError:
        return writer, reader


def with_fds(*fds: int) -> list[tuple[int, int, bytes]]:
    """Ancillary data that sends them."""
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds).tobytes())]


def _where(address: str) -> str:
    return f"\0{address[1:]}" if address.startswith("@") else address


def _sender(address: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.connect(_where(address))
    sock.setblocking(False)
    return sock


def _datagrams(address: str, order: bytes, size: int) -> Callable[[], object]:
    sock = _sender(address)
    return lambda: sock.send(order + b"x" * size)


def _descriptors(address: str) -> Callable[[], object]:
    sock = _sender(address)
    kept: list[socket.socket] = []

    def send() -> None:
        writer, reader = slow_to_close()
        kept.append(reader)
        while len(kept) > _KEPT:
            kept.pop(0).close()
        try:
            sock.sendmsg([b"FDSTORE=1"], with_fds(*[writer.fileno()] * 100))
            # The receiver's close is the last one, and waits for what nobody reads.
        except OSError:
            kept.pop().close()
            raise
        finally:
            writer.close()

    return send


def _connections(address: str, data: bytes, keep: int) -> Callable[[], object]:
    kept: list[socket.socket] = []

    def connect() -> None:
        sock = socket.socket(socket.AF_UNIX)
        sock.setblocking(False)
        kept.append(sock)
        while len(kept) > keep:
            kept.pop(0).close()
        sock.connect(_where(address))
        sock.send(data)

    return connect


def _flood(what: str, address: str, *, own: bool) -> Callable[[], object]:
    if what == "descriptors":
        return _descriptors(address)
    if what in DATAGRAMS:
        # A tree may always end itself; that is no attack.
        order = b"STATUS=" if own else b"WATCHDOG=trigger\nSTATUS="
        return _datagrams(address, order, 100 if what == "datagrams" else 60_000)
    half, garbage = b'{"jsonrpc":"2.0","id":1,"method":"hel', b"\xff[{garbage}\n" * 1000
    data = {"connections": b"", "half": half, "garbage": garbage}[what]
    return _connections(address, data, _KEPT if what == "half" else 0)


def main(what: str, address: str, seconds: str, processes: str = "1") -> None:
    """Sends for so long. Prints a line when it has begun."""
    "".encode("idna")  # To connect imports this, which another user may not be able to.
    for _ in range(int(processes) - 1):
        if os.fork() == 0:
            break
    else:
        print("floods", flush=True)
    own = address == "own"
    if own:
        address = os.environ["NOTIFY_SOCKET" if what in DATAGRAMS else "TREEGUARD_CONTROL_SOCKET"]
    elif os.geteuid() == 0:
        os.setgroups([])
        os.setgid(_NOBODY)
        os.setuid(_NOBODY)
    once: Callable[[], object] | None = None
    end = time.monotonic() + float(seconds)
    while time.monotonic() < end:
        with contextlib.suppress(OSError):  # There is no room, or it may not come to the place, or nobody is there.
            once = once or _flood(what, address, own=own)
            once()


if __name__ == "__main__":
    main(*sys.argv[1:])
