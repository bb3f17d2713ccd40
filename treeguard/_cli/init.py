"""The duties of the first process of a PID namespace, as of a container.

The kernel gives it the orphans of the namespace. Those of the tree are the guard's, but there are others, such as what
``docker exec`` has left, and nobody else waits for them. A subreaper (prctl(2)) has others' orphans, too, and whatever
was a shell before (``exec treeguard run …``) has the shell's children. And the kernel drops the signals that the first
process neither handles nor blocks: see :func:`hold_signals`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Collection
from functools import partial

__all__ = ["held_signals", "hold_signals", "reap_strangers", "release_signals"]

#: How many are reaped in one turn of the loop, and seconds until the next look where one of our own is in the way.
_BATCH, _AGAIN = 64, 0.05

_held: set[int] = set()


def hold_signals() -> None:
    """Keeps the requests to end that come before there are handlers, as the first process of a namespace.

    The kernel drops them there while their action is the default one and they are not blocked (pid_namespaces(7)).
    """
    if sys.platform != "win32" and os.getpid() == 1:
        ending = {signal.SIGHUP, signal.SIGINT, signal.SIGTERM}
        _held.update(ending - signal.pthread_sigmask(signal.SIG_BLOCK, ending))


def release_signals() -> None:
    """Lets those come that were held."""
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _held)


def held_signals() -> frozenset[int]:
    """Those that are blocked only because they are held."""
    return frozenset(_held)


def reap_strangers(own: Callable[[], Collection[int]]) -> None:
    """Reaps those children of this process that have ended and are not its ``own``. Call it on the loop, at SIGCHLD.

    Each is looked at before it is waited for, by its process id, so that nobody's wait for one of ours comes to
    nothing. The kernel shows the same one until it is reaped: if it is one of ours, whoever waits for it is about to
    reap it, and the others have to wait for that.
    """
    if sys.platform == "win32":
        return
    loop = asyncio.get_running_loop()
    with contextlib.suppress(ChildProcessError):
        for _ in range(_BATCH):
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if found is None:
                return
            if found.si_pid in own():
                loop.call_later(_AGAIN, partial(reap_strangers, own))
                return
            os.waitid(os.P_PID, found.si_pid, os.WEXITED | os.WNOHANG)
        loop.call_soon(partial(reap_strangers, own))
