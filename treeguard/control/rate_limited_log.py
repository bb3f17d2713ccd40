"""The log records about one child: with the child's ids on each record, and limited in rate."""

from __future__ import annotations

import time
from collections.abc import Callable

from .._core.telemetry.log import log_of
from ..capability.quota import TokenBucket
from ..types import ConnectionId, ProcessId

__all__ = ["RateLimitedLog", "shown"]

#: Records about one child: this many at once, and this many per second after that. A refused process may try again
#: without limit.
_BURST = 20
_RATE = 1.0
_SHOWN = 80


class RateLimitedLog:
    """The log records about one child."""

    def __init__(self, pid: ProcessId, clock: Callable[[], float] = time.monotonic) -> None:
        self._pid = pid
        self._clock = clock
        self._bucket = TokenBucket(_RATE, _BURST, clock())
        self._left_out = 0
        self._log = log_of("control", pid)

    def attached(self, connection: ConnectionId) -> None:
        """Adds the id of the connection to all further records."""
        self._log = log_of("control", self._pid, connection)

    def refused(self, words: str, *values: object) -> None:
        """Logs something that the child tried and that was refused."""
        if self._has_room():
            self.warning(words, *values)

    def warning(self, words: str, *values: object) -> None:
        """Logs a warning without limiting the rate, for events that the child cannot repeat at will."""
        self._log.warning("%s: " + words, self._pid, *values)

    def info(self, words: str, *values: object) -> None:
        """Logs a normal event."""
        self._log.info("%s: " + words, self._pid, *values)

    def wanted(self, words: str, *values: object) -> None:
        """Logs a normal event that the child can repeat at will."""
        if self._has_room():
            self.info(words, *values)

    def failed(self, words: str, *values: object) -> None:
        """Logs an error of this side, with the exception that is being handled."""
        if self._has_room():
            self._log.exception("%s: " + words, self._pid, *values)

    def close(self) -> None:
        """Logs how many records were left out."""
        self._tell_left_out()

    def _has_room(self) -> bool:
        if self._bucket.wait(1, self._clock()):
            self._left_out += 1
            return False
        self._bucket.take(1)
        self._tell_left_out()
        return True

    def _tell_left_out(self) -> None:
        if self._left_out:
            self.warning("%d more refusals were not logged", self._left_out)
            self._left_out = 0


def shown(text: str) -> str:
    """Returns a child's text for display: on one line, in ASCII, and shortened."""
    return ascii(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")
