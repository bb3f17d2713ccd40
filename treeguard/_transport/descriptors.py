"""Helpers for passing descriptors: keeps them apart from the standard streams, and limits how many come at once."""

from __future__ import annotations

import socket

__all__ = ["ANCILLARY", "MOST", "apart_from_streams"]

_STREAMS = 3
#: The number of descriptors that can be sent at once (SCM_MAX_FD). ``ANCILLARY`` has room for them, for credentials
#: (three numbers) and for a handle. If there is too little room, the kernel closes the rest at once, in the reading
#: thread.
MOST = 253
ANCILLARY = socket.CMSG_SPACE(MOST * 4) + socket.CMSG_SPACE(3 * 4) + socket.CMSG_SPACE(4)


def apart_from_streams(sock: socket.socket) -> socket.socket:
    """Returns the socket, or a copy of it, with a number above 2, even if standard streams are closed."""
    low: list[socket.socket] = []
    try:
        while sock.fileno() < _STREAMS:
            low.append(sock)
            sock = sock.dup()
    finally:
        for each in low:
            each.close()
    return sock
