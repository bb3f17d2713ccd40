"""The n-th system call of a supervisor fails, for every n: to be run apart (:mod:`tests.support.apart`).

The supervisor is a fork of this process, under a filter that asks this process before each call that can fail for want
of something (seccomp_unotify(2), Linux 5.5). It is the library as it is shipped, Python included. What its children
call is let through.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import os
import platform
import select
import signal
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple, NoReturn

import msgspec

from treeguard import LocalProcessManager, SpawnParams, TreeguardError
from treeguard.types import Mechanism

from .belongings import belongings
from .patience import PATIENCE
from .seccomp import notify

__all__ = ["every_call_fails"]

#: ``ioctl`` of a listener, and what goes in and out: struct seccomp_notif, struct seccomp_notif_resp.
_RECEIVE, _SEND = 0xC0502100, 0xC0182101
_NOTIFICATION, _RESPONSE = struct.Struct("=QIIiIQ6Q"), struct.Struct("=QqiI")
_CONTINUE = 1

_FULL = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
#: By name: the numbers on x86-64 and aarch64, and the errors.
_CALLS: dict[str, tuple[int, int, tuple[int, ...]]] = {
    "openat": (257, 56, _FULL),
    "mkdir": (83, -1, (errno.ENOSPC, errno.EROFS, errno.ENOMEM)),
    "mkdirat": (258, 34, (errno.ENOSPC, errno.EROFS, errno.ENOMEM)),
    "socket": (41, 198, (*_FULL, errno.ENOBUFS)),
    "socketpair": (53, 199, _FULL),
    "bind": (49, 200, (errno.ENOMEM, errno.EADDRINUSE)),
    "setsockopt": (54, 208, (errno.ENOMEM,)),
    "memfd_create": (319, 279, _FULL),
    "fallocate": (285, 47, (errno.ENOSPC,)),
    "epoll_create1": (291, 20, _FULL),
    "epoll_ctl": (233, 21, (errno.ENOMEM, errno.ENOSPC)),
    "pidfd_open": (434, 434, _FULL),
    "clone": (56, 220, (errno.EAGAIN, errno.ENOMEM)),
    "clone3": (435, 435, (errno.EAGAIN, errno.ENOMEM, errno.ENFILE)),
}
_ERRORS = {
    number: (name, errors)
    for name, (*numbers, errors) in _CALLS.items()
    if (number := numbers[platform.machine() == "aarch64"]) >= 0
}


#: Hundredths of a second in which threads may still close descriptors.
_MOMENTS = 200

#: What a child may be given besides.
_GIVEN = {
    "notify": SpawnParams("", notify=True),
    "inherited": SpawnParams("", control=True),
    "path": SpawnParams("", control="path"),
}


class Outcome(NamedTuple):
    """The outcome of a life: its error's class, errno and text, or None for each; and what it left."""

    error: str | None
    errno: int | None
    text: str | None
    left: list[str]


# The supervisor.


async def _live(containment: Mechanism, given: str, program: str) -> None:
    lease = None if containment == "process_group" else 60.0
    async with LocalProcessManager(containment=containment, lease=lease) as manager:
        child = await manager.spawn_child(msgspec.structs.replace(_GIVEN[given], program=program))
        await manager.kill_tree(child.pid)
        assert await manager.wait_for_exit(child.pid, PATIENCE)


async def _left(before: set[str]) -> list[str]:
    """What is there that was not there before. Threads get a moment to close and sweep."""
    for _ in range(_MOMENTS):
        if not belongings() - before:
            break
        await asyncio.sleep(0.01)
    return sorted(belongings() - before)


async def _attempt(containment: Mechanism, given: str, program: str, control: socket.socket) -> Outcome:
    unhandled: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(str(context)))
    before = belongings()
    error: Exception | None = None
    control.send(b"begin")
    control.recv(16)
    try:
        await _live(containment, given, program)
    except Exception as e:
        error = e
    control.send(b"end")
    control.recv(16)
    left = await _left(before) + unhandled
    if error is None:
        return Outcome(None, None, None, left)
    known = isinstance(error, TreeguardError)
    return Outcome(type(error).__name__ if known else repr(error), getattr(error, "errno", None), str(error), left)


async def _supervise(containment: Mechanism, given: str, program: str, control: socket.socket) -> None:
    # What is loaded, tried and found once is not of a life.
    await _live(containment, given, program)
    while True:
        outcome = await _attempt(containment, given, program, control)
        control.send(json.dumps(outcome).encode())
        if control.recv(16) == b"stop":
            return


# The one that is asked.


class _Asked:
    """Answers a supervisor's filter."""

    def __init__(self, listener: int, supervisor: int, control: socket.socket) -> None:
        self._listener, self._supervisor, self._control = listener, supervisor, control
        self.at, self.which = 1, 0
        self._armed, self._count = False, 0
        self.failed: tuple[str, int] | None = None

    def outcome(self) -> Outcome:
        """Lets one life happen."""
        self.failed = None
        while True:
            ready = [fd for fd, _ in self._poll()]
            if self._listener in ready:
                self._answer()
            elif self._control.fileno() in ready:
                said = self._control.recv(65536)
                if said not in (b"begin", b"end"):
                    return Outcome(*json.loads(said))
                self._armed, self._count = said == b"begin", 0
                self._control.send(b"go")

    def _poll(self) -> list[tuple[int, int]]:
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        poll.register(self._control, select.POLLIN)
        ready = poll.poll(PATIENCE * 1000)
        assert ready, "the supervisor hangs"
        return ready

    def _answer(self) -> None:
        message = bytearray(_NOTIFICATION.size)
        try:
            fcntl.ioctl(self._listener, _RECEIVE, message)
            cookie, pid, _, number, *_ = _NOTIFICATION.unpack(message)
            error = self._error(number) if self._armed and pid == self._supervisor else 0
            answer = _RESPONSE.pack(cookie, 0, -error, 0 if error else _CONTINUE)
            fcntl.ioctl(self._listener, _SEND, answer)
        except FileNotFoundError:
            pass  # killed meanwhile

    def _error(self, number: int) -> int:
        name, errors = _ERRORS[number]
        self._count += 1
        if self._count != self.at or self.which >= len(errors):
            return 0
        self.failed = name, errors[self.which]
        return errors[self.which]


def _outcomes(asked: _Asked, control: socket.socket) -> Iterator[tuple[tuple[str, int], Outcome]]:
    """Of every call, and each of its errors; in between of a life in which none fails."""
    while True:
        outcome = asked.outcome()
        if asked.failed is not None:
            yield asked.failed, outcome
            asked.which += 1
            control.send(b"next")
            continue
        # That call has no more errors, or there are no more calls: this life was an ordinary one.
        assert outcome == Outcome(None, None, None, []), outcome
        if asked.which == 0:
            control.send(b"stop")
            return
        asked.at, asked.which = asked.at + 1, 0
        control.send(b"next")


def every_call_fails(containment: Mechanism, given: str, program: str) -> list[tuple[str, str, Outcome]] | None:
    """By call and errno, what came of a life; None where there is no such filter."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        ours.close()
        _be_supervisor(containment, given, program, theirs)
    theirs.close()
    found = None
    with ours:
        _, listeners, _, _ = socket.recv_fds(ours, 1, 1)
        for listener in listeners:
            asked = _Asked(listener, pid, ours)
            found = [(name, errno.errorcode[err], outcome) for (name, err), outcome in _outcomes(asked, ours)]
            os.close(listener)
    # No process would answer its further calls.
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return found


def _be_supervisor(containment: Mechanism, given: str, program: str, control: socket.socket) -> NoReturn:
    try:
        listener = notify(_ERRORS)
    except OSError:
        control.send(b"x")
        os._exit(0)
    socket.send_fds(control, [b"x"], [listener])
    os.close(listener)
    asyncio.run(_supervise(containment, given, program, control))
    os._exit(0)
