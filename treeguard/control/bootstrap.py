"""How a child comes by its control connection: an inherited end of it, or a place that it comes to."""

from __future__ import annotations

import asyncio
import errno
import os
import sys
import time
from abc import abstractmethod

from .._transport import End
from .._transport.share import Share
from .._wire.protocol import FD_VARIABLE, SOCKET_VARIABLE
from ..capability.bundle import CapabilityToken
from ..errors import invalid_argument, spawn_error
from ..ext import ChildResource, Owner
from ..params import SpawnParams
from ..types import ChildHandle, ProcessId
from .listener import Came
from .peer import Peer, ServerContext, children_share
from .rate_limited_log import RateLimitedLog

if sys.platform == "win32":
    from .listener_windows import LACKS, Listener, pair
else:
    from .listener_unix import LACKS, Listener, pair

__all__ = ["check", "offer"]

#: Connections of one child that have not said hello yet.
_WAITING = 8
#: Seconds until it is tried again to accept a connection for which something was short.
_PAUSE = 0.1
#: Seconds at least in which nobody is let in, when whoever came has used up its share.
_REST = 0.02
#: What all who are not of the tree may cost together: of a processor, and seconds at once.
_STRANGERS = 0.02
_BURST = 0.01
#: What it costs the loop to wake up and call, which cannot be measured from in here.
_WAKE = 20e-6


class _Offer(ChildResource):
    """What the ways have in common."""

    def __init__(self, hub: ServerContext, owner: Owner, pid: ProcessId, token: CapabilityToken) -> None:
        self._hub = hub
        self._owner = owner
        self._pid = pid
        self._token = token
        self._journal = RateLimitedLog(pid, hub.clock)
        self._peers: list[Peer] = []
        self._share = children_share()

    def _meet(self, end: End) -> Peer:
        found = Peer(self._hub, self._owner, self._pid, end, self._journal, self.attached, self._share)
        self._peers = [*(each for each in self._peers if not each.closed), found]
        return found

    def started(self, child: ChildHandle) -> None:
        """See :meth:`ChildResource.started`."""
        try:
            self._begin()
        except OSError as error:  # the loop cannot watch one more descriptor
            raise spawn_error("control", error.errno or 0, None) from error

    @abstractmethod
    def _begin(self) -> None:
        """What is given to the child is its own from now on."""

    def attached(self, found: Peer) -> None:
        """Called when one of those who came has shown the token. It was the only one."""
        for each in self._peers:
            if each is not found:
                each.close("another connection was attached")

    def withdraw(self) -> None:
        """See :meth:`ChildResource.withdraw`."""
        for each in self._peers:
            each.close("its tree has ended")
        self._hub.over(self._pid)
        self._journal.close()


class Inherited(_Offer):
    """One end of a pair. The token is sent on it."""

    def __init__(
        self, hub: ServerContext, owner: Owner, pid: ProcessId, token: CapabilityToken, *, stdin: bool
    ) -> None:
        super().__init__(hub, owner, pid, token)
        self._own, self._theirs = pair()
        if stdin:
            self.stdin = self._theirs.fileno()
            self.env = {FD_VARIABLE: "0"}
        else:
            self.pass_fds = (self._theirs.fileno(),)
            self.env = {FD_VARIABLE: str(self._theirs.fileno())}

    def _begin(self) -> None:
        self._theirs.close()
        self._meet(self._own).start(self._token)

    def withdraw(self) -> None:
        """See :meth:`ChildResource.withdraw`."""
        self._theirs.close()
        super().withdraw()
        self._own.close()


class AtPath(_Offer):
    """A place that only this user may come to. The token is a line on the child's standard input."""

    def __init__(self, hub: ServerContext, owner: Owner, pid: ProcessId, token: CapabilityToken) -> None:
        super().__init__(hub, owner, pid, token)
        self._listener = Listener()
        try:
            self.stdin: int | None = _line(token.text)
        except BaseException:
            self._listener.close()
            raise
        self.env = {SOCKET_VARIABLE: self._listener.place}
        self._patience: asyncio.TimerHandle | None = None
        self._strangers = Share(_STRANGERS, _BURST)

    def _begin(self) -> None:
        self._close_stdin()
        self._loop = asyncio.get_running_loop()
        self._patience = self._loop.call_later(self._hub.hello_timeout, self._give_up)
        self._listener.listen(self._loop, self._knock)

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
            self._listener.listen(self._loop, self._knock)
        except (OSError, RuntimeError):  # The loop cannot watch one more descriptor now, or there is no thread.
            self._pause(_PAUSE)

    def _give_up(self) -> None:
        self._journal.refused("did not come and say hello within %g s", self._hub.hello_timeout)
        self._stop_listening()

    def _knock(self) -> None:
        began = time.thread_time()
        try:
            came = self._listener.accept(lambda os_pid: self._owner.has_member(self._pid, os_pid))
        except (OSError, RuntimeError):  # Whoever waits still waits, so without a pause nothing else would run.
            self._pause(_PAUSE)
            return
        if came is not None:
            self._receive(came)
        share = self._strangers if came is None or came.end is None else self._share
        share.charge(_WAKE + time.thread_time() - began)
        wait = share.wait()
        if wait:
            self._pause(max(wait, _REST))

    def _receive(self, came: Came) -> None:
        if came.end is None:
            self._journal.refused("process %d, which is not of the tree, came to its control socket", came.os_pid)
            return
        crowded = sum(not each.closed for each in self._peers) >= _WAITING
        found = self._meet(came.end)
        if crowded:
            found.close("too many are waiting")
            self._journal.refused("too many connections that have not said hello")
        else:
            self._begin_with(found)

    def _begin_with(self, found: Peer) -> None:
        """Whoever was let in is not sent away for what is short at the moment."""
        if found.closed:
            return
        try:
            found.start()
        except (OSError, RuntimeError):
            self._loop.call_later(_PAUSE, self._begin_with, found)

    def attached(self, found: Peer) -> None:
        """One connection is what a child has: nobody else is waited for."""
        super().attached(found)
        self._stop_listening()

    def _stop_listening(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
        self._listener.close()

    def _close_stdin(self) -> None:
        fd, self.stdin = self.stdin, None
        if fd is not None:
            os.close(fd)


def _line(text: str) -> int:
    """A pipe that holds a line, and then ends."""
    read, write = os.pipe()
    try:
        os.write(write, text.encode() + b"\n")
    except BaseException:
        os.close(read)
        raise
    finally:
        os.close(write)
    return read


def check(params: SpawnParams) -> None:
    """Raises :class:`~treeguard.SpawnError` if there can be no control connection here."""
    if LACKS is not None:
        raise invalid_argument("control", LACKS, params.program)


def offer(hub: ServerContext, owner: Owner, pid: ProcessId, params: SpawnParams, token: CapabilityToken) -> _Offer:
    """What the parameters ask for. Raises :class:`~treeguard.SpawnError`."""
    try:
        if params.control == "path":
            return AtPath(hub, owner, pid, token)
        return Inherited(hub, owner, pid, token, stdin=params.control == "stdin")
    except OSError as e:
        raise spawn_error("control", e.errno or errno.EIO, params.program) from e
