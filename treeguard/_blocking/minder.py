"""A thread that runs a pump while no other thread does."""

from __future__ import annotations

import math
import select
import threading
import time
from collections.abc import Sequence
from typing import Protocol

from .waker import Waker

__all__ = ["Minder"]

#: How long the minder leaves to a thread that runs the loop what there is to do, in seconds.
_COURTESY = 0.005
#: The longest wait in one call of poll(2), in seconds.
_LONGEST = 3600.0


class _Minded(Protocol):
    """A pump."""

    @property
    def runs(self) -> bool: ...
    def time(self) -> float: ...
    def next_timer(self) -> float: ...
    def look(self) -> None: ...


class Minder:
    """Looks after a pump, so that what happens is noticed at once: the end of a guard, above all.

    It leaves events to a thread that waits for them, so that a switch between threads is not part of every life.
    """

    def __init__(self, pump: _Minded) -> None:
        self._pump = pump
        self._waker = Waker()
        self._polls_until = math.inf
        self._ended = False
        self._thread = threading.Thread(target=self._serve, name="treeguard-minder", daemon=True)
        self._poller = select.poll()

    def begin(self, fds: Sequence[int]) -> bool:
        """Starts the thread, which polls these descriptors. Returns whether there is one."""
        for fd in (self._waker.fileno(), *fds):
            self._poller.register(fd, select.POLLIN)
        try:
            self._thread.start()
        except RuntimeError:
            self._waker.close()
            return False
        return True

    def note(self, when: float) -> None:
        """Takes note of a timer that is due then."""
        if when < self._polls_until:
            self._waker.wake()

    def _serve(self) -> None:
        while not self._ended:
            self._polls_until = self._pump.next_timer()
            left = max(0.0, min(self._polls_until - self._pump.time(), _LONGEST))
            ready = self._poller.poll(math.ceil(left * 1000))
            if any(fd == self._waker.fileno() for fd, _ in ready):
                self._waker.clear()
            if self._pump.runs:
                time.sleep(_COURTESY)
            elif not self._ended:
                self._pump.look()

    def end(self) -> None:
        """Ends the thread."""
        self._ended = True
        self._waker.wake()
        self._thread.join()
        self._waker.close()

    def forked(self) -> None:
        """Closes the descriptor in a forked copy, which has no such thread."""
        self._waker.close()
