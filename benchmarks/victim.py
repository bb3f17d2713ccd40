"""A healthy child: ``python -m benchmarks.victim FLAG``. Gives signs of life; when FLAG exists, it says hello too."""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path

from treeguard.child import connect

__all__ = ["BEAT", "main"]

#: Seconds between two signs of life.
BEAT = 0.1


def main(flag: str) -> None:
    """Does not end."""
    address = os.environ["NOTIFY_SOCKET"]
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.connect(f"\0{address[1:]}" if address.startswith("@") else address)
    sock.send(b"READY=1")
    said = False
    while True:
        sock.send(b"WATCHDOG=1")
        if not said and Path(flag).exists():
            said = True
            connect()
        time.sleep(BEAT)  # the pause between two signs of life, which a watchdog counts


if __name__ == "__main__":
    main(sys.argv[1])
