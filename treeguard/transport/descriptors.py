"""Descriptors that are not taken for standard streams."""

from __future__ import annotations

import socket

__all__ = ["apart_from_streams"]

_STREAMS = 3


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
