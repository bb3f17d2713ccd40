"""Descriptors that are handed on: not to be taken for standard streams, and how many come at once."""

from __future__ import annotations

import socket

__all__ = ["ANCILLARY", "MOST", "apart_from_streams"]

_STREAMS = 3
#: So many can be sent at once (SCM_MAX_FD). Room for them, for credentials (three numbers) and for a handle. What there
#: is no room for the kernel closes at once, in the thread that reads.
MOST = 253
ANCILLARY = socket.CMSG_SPACE(MOST * 4) + socket.CMSG_SPACE(3 * 4) + socket.CMSG_SPACE(4)


def apart_from_streams(sock: socket.socket) -> socket.socket:
    """The same, or a copy, with a number above 2, also where standard streams are closed."""
    low: list[socket.socket] = []
    try:
        while sock.fileno() < _STREAMS:
            low.append(sock)
            sock = sock.dup()
    finally:
        for each in low:
            each.close()
    return sock
