"""How a child comes by its control connection: an inherited socket, or one that it finds at a path."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import tempfile
from pathlib import Path

from ..capability import CapabilityToken
from ..credentials import ask_for_senders, is_member, peer
from ..descriptors import apart_from_streams
from ..errors import spawn_error
from ..params import SpawnParams
from ..protocol import FD_VARIABLE, SOCKET_VARIABLE
from ..provision import Owner, Provision
from ..types import ChildHandle, ProcessId
from .journal import Journal
from .peer import Hub, Peer

__all__ = ["offer"]

#: Connections of one child that have not said hello yet.
_WAITING = 8
#: Seconds until it is tried again to accept a connection for which there was no descriptor.
_PAUSE = 0.1


class _Offer(Provision):
    """What the ways have in common."""

    def __init__(self, hub: Hub, owner: Owner, pid: ProcessId, token: CapabilityToken) -> None:
        self._hub = hub
        self._owner = owner
        self._pid = pid
        self._token = token
        self._journal = Journal(pid, hub.clock)
        self._peers: list[Peer] = []

    def _meet(self, sock: socket.socket) -> Peer:
        found = Peer(self._hub, self._owner, self._pid, sock, self._journal, self.attached)
        self._peers = [*(each for each in self._peers if not each.closed), found]
        return found

    def attached(self, found: Peer) -> None:
        """Called when one of those who came has shown the token. It was the only one."""
        for each in self._peers:
            if each is not found:
                each.close("another connection was attached")

    def withdraw(self) -> None:
        """See :meth:`Provision.withdraw`."""
        for each in self._peers:
            each.close("its tree has ended")
        self._hub.over(self._pid)
        self._journal.close()


class Inherited(_Offer):
    """One end of a pair of sockets. The token is sent on it; whoever sends has to be of the tree."""

    def __init__(self, hub: Hub, owner: Owner, pid: ProcessId, token: CapabilityToken, *, stdin: bool) -> None:
        super().__init__(hub, owner, pid, token)
        with contextlib.ExitStack() as undo:
            self._own, theirs = socket.socketpair()
            undo.enter_context(self._own)
            self._theirs = apart_from_streams(theirs)
            undo.enter_context(self._theirs)
            ask_for_senders(self._own)
            undo.pop_all()
        if stdin:
            self.stdin = self._theirs.fileno()
            self.env = {FD_VARIABLE: "0"}
        else:
            self.pass_fds = (self._theirs.fileno(),)
            self.env = {FD_VARIABLE: str(self._theirs.fileno())}

    def started(self, child: ChildHandle) -> None:
        """See :meth:`Provision.started`."""
        self._theirs.close()
        self._meet(self._own).start(self._token)

    def withdraw(self) -> None:
        """See :meth:`Provision.withdraw`."""
        self._theirs.close()
        super().withdraw()
        self._own.close()


class AtPath(_Offer):
    """A socket in a directory that only this user may enter. The token is a line on the child's standard input."""

    def __init__(self, hub: Hub, owner: Owner, pid: ProcessId, token: CapabilityToken) -> None:
        super().__init__(hub, owner, pid, token)
        with contextlib.ExitStack() as undo:
            directory = tempfile.mkdtemp(prefix="treeguard-")
            undo.callback(os.rmdir, directory)
            path = str(Path(directory, "control"))
            self._listener = undo.enter_context(socket.socket(socket.AF_UNIX))
            self._listener.setblocking(False)
            self._listener.bind(path)
            undo.callback(os.unlink, path)
            ask_for_senders(self._listener)
            self._listener.listen(_WAITING)
            self.stdin: int | None = _line(token.text)
            self._put_away = undo.pop_all()
        self.env = {SOCKET_VARIABLE: path}

    def started(self, child: ChildHandle) -> None:
        """See :meth:`Provision.started`."""
        self._close_stdin()
        self._loop = asyncio.get_running_loop()
        patience = self._loop.call_later(self._hub.hello_timeout, self._give_up)
        self._put_away.callback(patience.cancel)
        self._put_away.callback(self._pause)
        self._listen()

    def withdraw(self) -> None:
        """See :meth:`Provision.withdraw`."""
        self._close_stdin()
        self._stop_listening()
        super().withdraw()

    def _listen(self) -> None:
        if self._listener.fileno() >= 0:
            self._loop.add_reader(self._listener, self._accept)

    def _pause(self) -> None:
        if not self._loop.is_closed():
            self._loop.remove_reader(self._listener)

    def _give_up(self) -> None:
        self._journal.refused("did not come and say hello within %g s", self._hub.hello_timeout)
        self._stop_listening()

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except (BlockingIOError, ConnectionError):  # It has gone away.
            return
        except OSError:  # Descriptors are short. Whoever waits still waits, so without a pause nothing else would run.
            self._pause()
            self._loop.call_later(_PAUSE, self._listen)
            return
        with contextlib.ExitStack() as undo:
            undo.enter_context(sock)
            with peer(sock) as who:
                welcome = is_member(who, lambda os_pid: self._owner.has_member(self._pid, os_pid))
            if not welcome:
                self._journal.refused("process %d, which is not of the tree, came to its control socket", who.pid)
            elif sum(not each.closed for each in self._peers) >= _WAITING:
                self._journal.refused("too many connections that have not said hello")
            else:
                undo.pop_all()
                self._meet(sock).start()

    def attached(self, found: Peer) -> None:
        """One connection is what a child has: nobody else is waited for."""
        super().attached(found)
        self._stop_listening()

    def _stop_listening(self) -> None:
        with contextlib.suppress(OSError):  # Somebody else has cleared the directory away, or put something there.
            self._put_away.close()

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


def offer(hub: Hub, owner: Owner, pid: ProcessId, params: SpawnParams, token: CapabilityToken) -> _Offer:
    """What the parameters ask for. Raises :class:`~treeguard.SpawnError`."""
    try:
        if params.control == "path":
            return AtPath(hub, owner, pid, token)
        return Inherited(hub, owner, pid, token, stdin=params.control == "stdin")
    except OSError as e:
        raise spawn_error("control", e.errno or errno.EIO, params.program) from e
