"""What is logged of a child: with its ids on every record, and no more than anybody would read."""

from __future__ import annotations

import time
from collections.abc import Callable

from .._core.telemetry.log import log_of
from ..capability.quota import TokenBucket
from ..types import ConnectionId, ProcessId

__all__ = ["RateLimitedLog", "shown"]

#: Records about one child at once, and per second after that. Who is refused may try as often as it likes.
_BURST = 20
_RATE = 1.0
_SHOWN = 80


class RateLimitedLog:
    """The records about one child."""

    def __init__(self, pid: ProcessId, clock: Callable[[], float] = time.monotonic) -> None:
        self._pid = pid
        self._clock = clock
        self._bucket = TokenBucket(_RATE, _BURST, clock())
        self._left_out = 0
        self._log = log_of("control", pid)

    def attached(self, connection: ConnectionId) -> None:
        """From now on the records are about a connection, too."""
        self._log = log_of("control", self._pid, connection)

    def refused(self, words: str, *values: object) -> None:
        """Something that the child tried, and was refused."""
        if self._has_room():
            self.warning(words, *values)

    def warning(self, words: str, *values: object) -> None:
        """The same, for what cannot be tried again and again."""
        self._log.warning("%s: " + words, self._pid, *values)

    def info(self, words: str, *values: object) -> None:
        """Something in order."""
        self._log.info("%s: " + words, self._pid, *values)

    def wanted(self, words: str, *values: object) -> None:
        """Something in order that the child may want again and again."""
        if self._has_room():
            self.info(words, *values)

    def failed(self, words: str, *values: object) -> None:
        """An error of this side, with the exception that is being handled."""
        if self._has_room():
            self._log.exception("%s: " + words, self._pid, *values)

    def close(self) -> None:
        """Tells what was left out."""
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
    """A text of the child's for people: on one line, in ASCII, not too long."""
    return ascii(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")
