"""Gives a child its control connection: an inherited end of a pair, or a place that the child connects to."""

from __future__ import annotations

import asyncio
import errno
import os
import sys
import time
from abc import abstractmethod
from typing import TYPE_CHECKING

from .._transport import End
from .._transport.share import Share
from .._wire.protocol import FD_VARIABLE, SOCKET_VARIABLE
from ..capability.bundle import CapabilityToken
from ..errors import invalid_argument, spawn_error
from ..ext import ChildResource, Owner
from ..params import SpawnParams
from ..types import ChildHandle, ProcessId
from .listener import Accepted
from .peer import Peer, children_share
from .rate_limited_log import RateLimitedLog

if sys.platform == "win32":
    from .listener_windows import UNAVAILABLE, Listener, pair
else:
    from .listener_unix import UNAVAILABLE, Listener, pair

if TYPE_CHECKING:
    from .children import Children

__all__ = ["bootstrap", "check_available"]

#: Connections of one child that may wait to say hello.
_WAITING = 8
#: Seconds before the next attempt to accept a connection, after a shortage of resources.
_PAUSE = 0.1
#: Minimum seconds without accepting connections, once the connecting side has used up its share.
_REST = 0.02
#: What all processes outside the tree may cost together: a fraction of a processor, and seconds at once.
_STRANGERS = 0.02
_BURST = 0.01
#: The cost in seconds of waking up the loop and making the call, which cannot be measured from inside the call.
_WAKE = 20e-6


class _Bootstrap(ChildResource):
    """What all ways of giving a child its connection share."""

    def __init__(self, server: Children, owner: Owner, pid: ProcessId, token: CapabilityToken) -> None:
        self._server = server
        self._owner = owner
        self._pid = pid
        self._token = token
        self._log = RateLimitedLog(pid, server.clock)
        self._peers: list[Peer] = []
        self._share = children_share()

    def _new_peer(self, end: End) -> Peer:
        found = Peer(self._server, self._owner, self._pid, end, self._log, self.attached, self._share)
        self._peers = [*(each for each in self._peers if not each.closed), found]
        return found

    def started(self, child: ChildHandle) -> None:
        """See :meth:`ChildResource.started`."""
        try:
            self._begin()
        except OSError as error:  # the loop cannot watch another descriptor
            raise spawn_error("control", error.errno or errno.EIO, None) from error

    @abstractmethod
    def _begin(self) -> None:
        """Begins after the spawn, when the child has its own copy of what it was given."""

    def attached(self, found: Peer) -> None:
        """Closes the other connections once this one has shown the token, since a child gets only one."""
        for each in self._peers:
            if each is not found:
                each.close("another connection was attached")

    def withdraw(self) -> None:
        """See :meth:`ChildResource.withdraw`."""
        for each in self._peers:
            each.close("its tree has ended")
        self._server.ended(self._pid)
        self._log.close()


class Inherited(_Bootstrap):
    """Passes the child one end of a pair, and sends the token on it."""

    def __init__(self, server: Children, owner: Owner, pid: ProcessId, token: CapabilityToken, *, stdin: bool) -> None:
        super().__init__(server, owner, pid, token)
        self._own, self._theirs = pair()
        if stdin:
            self.stdin = self._theirs.fileno()
            self.env = {FD_VARIABLE: "0"}
        else:
            self.pass_fds = (self._theirs.fileno(),)
            self.env = {FD_VARIABLE: str(self._theirs.fileno())}

    def _begin(self) -> None:
        self._theirs.close()
        self._new_peer(self._own).start(self._token)

    def withdraw(self) -> None:
        """See :meth:`ChildResource.withdraw`."""
        self._theirs.close()
        super().withdraw()
        self._own.close()


class AtPath(_Bootstrap):
    """Listens at a place that only this user can reach. The token is a line on the child's standard input."""

    def __init__(self, server: Children, owner: Owner, pid: ProcessId, token: CapabilityToken) -> None:
        super().__init__(server, owner, pid, token)
        self._listener = Listener()
        try:
            self.stdin: int | None = _line(token.text)
        except BaseException:
            self._listener.close()
            raise
        self.env = {SOCKET_VARIABLE: self._listener.address}
        self._hello_timer: asyncio.TimerHandle | None = None
        self._strangers = Share(_STRANGERS, _BURST)

    def _begin(self) -> None:
        self._close_stdin()
        self._loop = asyncio.get_running_loop()
        self._hello_timer = self._loop.call_later(self._server.hello_timeout, self._give_up)
        self._listener.listen(self._loop, self._accept)

    def withdraw(self) -> None:
        """See :meth:`ChildResource.withdraw`."""
        self._close_stdin()
        self._stop_listening()
        super().withdraw()

    def _pause(self, seconds: float) -> None:
        self._listener.pause()
        self._loop.call_later(seconds, self._listen)

    def _listen(self) -> None:
        try:
            self._listener.listen(self._loop, self._accept)
        except (OSError, RuntimeError):  # The loop cannot watch another descriptor now, or no thread is available.
            self._pause(_PAUSE)

    def _give_up(self) -> None:
        self._log.refused("did not come and say hello within %g s", self._server.hello_timeout)
        self._stop_listening()

    def _accept(self) -> None:
        began = time.thread_time()
        try:
            accepted = self._listener.accept(lambda os_pid: self._owner.has_member(self._pid, os_pid))
        except (OSError, RuntimeError):  # The client is still waiting, so without a pause nothing else would run.
            self._pause(_PAUSE)
            return
        if accepted is not None:
            self._receive(accepted)
        share = self._strangers if accepted is None or accepted.end is None else self._share
        share.charge(_WAKE + time.thread_time() - began)
        wait = share.wait()
        if wait:
            self._pause(max(wait, _REST))

    def _receive(self, accepted: Accepted) -> None:
        if accepted.end is None:
            self._log.refused("process %d, which is not of the tree, came to its control socket", accepted.os_pid)
            return
        crowded = sum(not each.closed for each in self._peers) >= _WAITING
        found = self._new_peer(accepted.end)
        if crowded:
            found.close("too many are waiting")
            self._log.refused("too many connections that have not said hello")
        else:
            self._begin_with(found)

    def _begin_with(self, found: Peer) -> None:
        """Starts a connection. A shortage of resources delays the start but does not close the connection."""
        if found.closed:
            return
        try:
            found.start()
        except (OSError, RuntimeError):
            self._loop.call_later(_PAUSE, self._begin_with, found)

    def attached(self, found: Peer) -> None:
        """Stops listening, since a child gets only one connection."""
        super().attached(found)
        self._stop_listening()

    def _stop_listening(self) -> None:
        if self._hello_timer is not None:
            self._hello_timer.cancel()
        self._listener.close()

    def _close_stdin(self) -> None:
        fd, self.stdin = self.stdin, None
        if fd is not None:
            os.close(fd)


def _line(text: str) -> int:
    """Returns the read end of a pipe that holds one line and then ends."""
    read, write = os.pipe()
    try:
        os.write(write, text.encode() + b"\n")
    except BaseException:
        os.close(read)
        raise
    finally:
        os.close(write)
    return read


def check_available(params: SpawnParams) -> None:
    """Raises :class:`~treeguard.SpawnError` if control connections are unavailable here."""
    if UNAVAILABLE is not None:
        raise invalid_argument("control", UNAVAILABLE, params.program)


def bootstrap(
    server: Children, owner: Owner, pid: ProcessId, params: SpawnParams, token: CapabilityToken
) -> ChildResource:
    """Returns the connection that the parameters ask for. Raises :class:`~treeguard.SpawnError`."""
    try:
        if params.control == "path":
            return AtPath(server, owner, pid, token)
        return Inherited(server, owner, pid, token, stdin=params.control == "stdin")
    except OSError as e:
        raise spawn_error("control", e.errno or errno.EIO, params.program) from e
