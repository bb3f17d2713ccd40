"""A supervisor in a process of its own, forked from the test, that does what it is told and may be killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from treeguard import LocalProcessManager
from treeguard.params import Isolation
from treeguard.types import Mechanism

from .patience import PATIENCE
from .verbs import Answer, Verbs

__all__ = ["Remote"]

_ROOM = 65536


class Remote:
    """The test's side.

    Descriptors go over with a verb: the list of their numbers there takes the place of an argument "fds", the first of
    them that of "fd" within a list.
    """

    def __init__(
        self, containment: Mechanism, prepare: Callable[[], None] | None = None, *, isolation: Isolation | None = None
    ) -> None:
        """``prepare`` is called in the supervisor before anything else."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = os.fork()
        if self.pid == 0:
            with contextlib.suppress(BaseException):
                ours.close()
                if prepare is not None:
                    prepare()
                asyncio.run(_serve(theirs, containment, isolation))
            os._exit(0)
        #: The number of its end of the connection, there.
        self.fd = theirs.fileno()
        theirs.close()
        ours.settimeout(3 * PATIENCE)
        self._socket = ours

    def perform(self, verb: str, *arguments: Any, fds: Sequence[int] = ()) -> Answer:
        """Has a verb done, and waits for the answer."""
        socket.send_fds(self._socket, [json.dumps([verb, arguments]).encode()], list(fds))
        told = self._socket.recv(_ROOM)
        assert told, f"the supervisor ended in {verb}{arguments}"
        answer, error = json.loads(told)
        assert not error, error
        return answer

    def kill(self) -> None:
        """Sends SIGKILL and waits for the end."""
        os.kill(self.pid, signal.SIGKILL)
        self.close()

    def close(self) -> None:
        """Closes the connection, after which it ends by itself."""
        self._socket.close()
        os.waitpid(self.pid, 0)


def _placed(argument: Any, fds: list[int]) -> Any:
    if argument == "fds":
        return fds
    return [str(fds[0]) if word == "fd" else word for word in argument] if isinstance(argument, list) else argument


async def _serve(theirs: socket.socket, containment: Mechanism, isolation: Isolation | None) -> None:
    loop = asyncio.get_running_loop()
    problems: list[str] = []
    loop.set_exception_handler(lambda _, problem: problems.append(str(problem)))
    theirs.setblocking(False)
    verbs = Verbs(LocalProcessManager(containment=containment, isolation=isolation))
    ready = asyncio.Event()
    loop.add_reader(theirs.fileno(), ready.set)
    while True:
        await ready.wait()
        ready.clear()
        try:
            said, fds, _, _ = socket.recv_fds(theirs, _ROOM, 8)
        except BlockingIOError:
            continue
        if not said:
            return
        verb, arguments = json.loads(said)
        try:
            answer = await verbs.perform(verb, *(_placed(argument, fds) for argument in arguments))
        except BaseException:
            problems.append(traceback.format_exc())
            answer = None
        for fd in fds:
            os.close(fd)
        theirs.send(json.dumps([answer, "\n".join(problems)]).encode())
