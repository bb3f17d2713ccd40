"""Reaping the guards of released trees: they are children of the process that released them, as long as it lives.

An engine may be closed long before that, so this is done by a thread of the process, which ends when there are none.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import threading
from collections.abc import Callable

__all__ = ["reap_later"]


class _Reaper:
    """One thread for all of them. Adding to an epoll set needs no wake of the thread that waits for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waited: dict[int, Callable[[], object]] = {}
        self._epoll: select.epoll | None = None

    def add(self, pidfd: int, then: Callable[[], object]) -> None:
        """Takes the descriptor over. Raises OSError or RuntimeError if that cannot be waited for."""
        with self._lock:
            if self._epoll is None:
                self._epoll = select.epoll()
                try:
                    threading.Thread(
                        target=self._run, args=(self._epoll,), name="treeguard-reaper", daemon=True
                    ).start()
                except BaseException:
                    self._forget()
                    raise
            self._waited[pidfd] = then
            self._epoll.register(pidfd, select.EPOLLIN)

    def _run(self, epoll: select.epoll) -> None:
        while True:
            for pidfd, _ in epoll.poll():
                self._reap(pidfd)
            with self._lock:
                if not self._waited:
                    self._forget()
                    return

    def _reap(self, pidfd: int) -> None:
        # ECHILD: the host has reaped it. EINVAL: before Linux 5.4, where it stays a zombie as long as this process.
        with contextlib.suppress(OSError):
            os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)
        with self._lock:
            then = self._waited.pop(pidfd, None)
            if self._epoll is not None:
                self._epoll.unregister(pidfd)
        os.close(pidfd)
        if then is not None:
            with contextlib.suppress(OSError):
                then()

    def _forget(self) -> None:
        if self._epoll is not None:
            self._epoll.close()
            self._epoll = None

    def forked(self) -> None:
        """In a forked copy, which has no children: closes what it has inherited."""
        self._lock = threading.Lock()
        for pidfd in self._waited:
            os.close(pidfd)
        self._waited.clear()
        self._forget()


if sys.platform == "linux":
    _reaper = _Reaper()
    os.register_at_fork(after_in_child=_reaper.forked)


def reap_later(pidfd: int, then: Callable[[], object]) -> None:
    """Reaps a child when it ends, and makes a call then. Takes the descriptor over."""
    try:
        _reaper.add(pidfd, then)
    except (OSError, RuntimeError):
        # Without a thread or a descriptor it is a zombie from its end to that of this process.
        os.close(pidfd)
