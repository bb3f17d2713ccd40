"""A share of the processor: what is done for somebody is charged, and whoever has used its share up has to wait."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..capability.quota import TokenBucket

__all__ = ["Share"]


class Share:
    """So many seconds on a processor in each second, and ``burst`` seconds at once.

    What has been done cannot be refused any more, so a charge may leave a debt; :meth:`wait` is how long that lasts.
    """

    __slots__ = ("_bucket", "_clock")

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._bucket = TokenBucket(rate, burst, clock())

    def charge(self, seconds: float) -> None:
        """So much was spent."""
        self._bucket.wait(0, self._clock())  # What has flowed in meanwhile comes first: a full bucket takes no more.
        self._bucket.take(seconds)

    def wait(self) -> float:
        """In how many seconds more may be spent. 0: now."""
        return self._bucket.wait(0, self._clock())
