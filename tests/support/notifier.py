r"""A child that notifies as it is told, in Python: ``python -m tests.support.notifier STEP…``.

Steps, in their order: ``text:…`` sends a datagram (``\n`` stands for a newline), ``pid:…`` the same with ``%d`` for its
own process id, ``noise:N`` sends N datagrams of any bytes, some too long and some with descriptors, ``store:PATH``
sends an open file to be stored, ``barrier`` waits until all before it was read, ``say:…`` prints a line, ``beat:S``
gives a sign of life each S seconds, without end, and prints it, ``stay`` stays. ``other:…`` has a child of its own send
a datagram, and waits until that was read.
"""

from __future__ import annotations

import array
import contextlib
import os
import random
import signal
import socket
import sys
import tempfile
import time

__all__ = ["main"]


class Notifier:
    """A socket to the supervisor."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.connect("\0" + os.environ["NOTIFY_SOCKET"][1:])

    def text(self, text: str) -> None:
        self._send(text.replace("\\n", "\n").encode())

    def pid(self, text: str) -> None:
        self.text(text % os.getpid())

    def noise(self, number: str) -> None:
        dice = random.Random(7)
        with tempfile.TemporaryFile() as file:
            for i in range(int(number)):
                length = dice.choice([0, 1, 10, 100, 4096, 4097, 60_000])
                fds = [file.fileno()] * dice.choice([1, 2, 253]) if i % 10 == 0 else []
                self._send(dice.randbytes(length), fds)

    def beat(self, seconds: str) -> None:
        while True:
            with contextlib.suppress(BlockingIOError):  # Nobody reads, and the queue is full.
                self._socket.send(b"WATCHDOG=1", socket.MSG_DONTWAIT)
            print("beat", flush=True)
            time.sleep(float(seconds))  # what a test asks for: so often it beats

    def store(self, path: str) -> None:
        with open(path, "rb") as file:  # noqa: PTH123
            self._send(b"FDSTORE=1\nFDNAME=it", [file.fileno()])

    def barrier(self, _: str) -> None:
        read, write = os.pipe()
        self._send(b"BARRIER=1", [write])
        os.close(write)
        os.read(read, 1)
        os.close(read)

    def other(self, text: str) -> None:
        child = os.fork()
        if child == 0:
            self.text(text)
            self.barrier("")
            os._exit(0)
        os.waitpid(child, 0)

    def say(self, line: str) -> None:
        print(line, flush=True)

    def stay(self, _: str) -> None:
        while True:
            signal.pause()

    def _send(self, data: bytes, fds: list[int] | None = None) -> None:
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds).tobytes())] if fds else []
        self._socket.sendmsg([data], ancillary)


def main() -> None:
    """Does its steps."""
    notifier = Notifier()
    for step in sys.argv[1:]:
        what, _, value = step.partition(":")
        getattr(notifier, what)(value)


if __name__ == "__main__":
    main()
