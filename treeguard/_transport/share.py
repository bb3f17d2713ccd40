"""A share of the processor: work done for another side is charged, and a side that has used up its share must wait."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..capability.quota import TokenBucket

__all__ = ["Share"]


class Share:
    """An allowance of processor time: ``rate`` seconds per second, and ``burst`` seconds at once.

    Work that has been done can no longer be refused, so a charge may leave a debt. :meth:`wait` returns how long the
    debt lasts.
    """

    __slots__ = ("_bucket", "_clock")

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._bucket = TokenBucket(rate, burst, clock())

    def charge(self, seconds: float) -> None:
        """Charges this many seconds."""
        self._bucket.wait(0, self._clock())  # Refill the bucket before taking: a full bucket gains nothing.
        self._bucket.take(seconds)

    def wait(self) -> float:
        """Returns in how many seconds more may be spent. 0 means now."""
        return self._bucket.wait(0, self._clock())
