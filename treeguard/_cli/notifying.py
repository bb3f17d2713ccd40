"""What a command tells by sd_notify(3) is told to the service manager that ``treeguard run`` itself was started by.

A service manager believes its main process, which is ``treeguard run``, and by default nobody else. So it says what a
process of the tree has said.
"""

from __future__ import annotations

import asyncio
import collections
import logging
import os
import socket
import time

from ..local import LocalProcessManager
from ..notify.listener import Notifications
from ..notify.notification import NotifyMessage
from .report import Reporter

__all__ = ["Notifier"]

#: What is not said again. BARRIER is answered here, descriptors are not stored (the library says so), and the main
#: process is treeguard run: it ends as the command ends, and only it is believed.
_OURS = frozenset(
    {b"BARRIER", b"FDSTORE", b"FDSTOREREMOVE", b"FDNAME", b"FDPOLL", b"MAINPID", b"MAINPIDFD", b"MAINPIDFDID"}
)
#: How many messages wait for a service manager that does not read, and how many seconds the last ones do.
_WAITING = 256
_PATIENCE = 1.0

_log = logging.getLogger("treeguard.run")


class Notifier:
    """Listens to the tree of a manager's only child, and passes on what it tells."""

    def __init__(self, manager: LocalProcessManager, reporter: Reporter) -> None:
        self._reporter = reporter
        self._above = _ServiceManager(address) if (address := os.environ.get("NOTIFY_SOCKET")) else None
        manager._notifications = Notifications(heard=self._heard)
        reporter.listening()

    def _heard(self, datagram: bytes, told: NotifyMessage) -> None:
        if told.ready:
            self._reporter.ready()
        if self._above is not None and (said := _said_again(datagram, told)):
            self._above.tell(said)

    def close(self) -> None:
        """Sends what is still to be sent, if there is somebody to receive it."""
        if self._above is not None:
            self._above.close()


def _said_again(datagram: bytes, told: NotifyMessage) -> bytes:
    """The lines of a datagram that are passed on. Times are those of the main process alone, as for ourselves."""
    dropped = set(_OURS)
    if told.watchdog_time is None:
        dropped.add(b"WATCHDOG_USEC")
    if told.extend_timeout is None:
        dropped.add(b"EXTEND_TIMEOUT_USEC")
    return b"\n".join(line for line in datagram.split(b"\n") if line and line.partition(b"=")[0] not in dropped)


class _ServiceManager:
    """The socket of ``NOTIFY_SOCKET``. Messages keep their order."""

    def __init__(self, address: str) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self._waiting: collections.deque[bytes] = collections.deque(maxlen=_WAITING)
        self._complained = False

    def tell(self, message: bytes) -> None:
        """Sends a message, or keeps it until there is room for it."""
        self._waiting.append(message)
        if len(self._waiting) == 1 and not self._send():
            asyncio.get_running_loop().add_writer(self._socket, self._go_on)

    def close(self) -> None:
        """Waits a moment for the last messages to be taken."""
        until = time.monotonic() + _PATIENCE
        while self._waiting and (left := until - time.monotonic()) > 0:
            self._socket.settimeout(left)
            self._send()
        self._socket.close()

    def _go_on(self) -> None:
        if self._send():
            asyncio.get_running_loop().remove_writer(self._socket)

    def _send(self) -> bool:
        """Sends what waits. Returns whether nothing waits any more."""
        while self._waiting:
            try:
                # Connected, the socket becomes writable when its other end has room. A service manager that was
                # started again has another socket at that address.
                self._socket.connect(self._address)
                self._socket.send(self._waiting[0])
            except (BlockingIOError, TimeoutError):
                return False
            except OSError as error:
                if not self._complained:
                    self._complained = True
                    _log.warning("--notify: cannot reach %s: %s", os.environ.get("NOTIFY_SOCKET"), error.strerror)
            self._waiting.popleft()
        return True
