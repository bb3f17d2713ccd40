"""A token bucket: so much at once, and so much per second. It has no clock; it is told what time it is."""

from __future__ import annotations

import math

__all__ = ["TokenBucket"]


class TokenBucket:
    """Holds ``burst`` at most, and begins full; ``rate`` per second flows in.

    In any stretch of time no more is taken out than ``burst + rate * time``. Time that runs backwards stands still.
    """

    __slots__ = ("_at", "_level", "burst", "rate")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self.rate = rate
        self.burst = burst
        self._level = burst
        self._at = now

    def wait(self, amount: float, now: float) -> float:
        """In how many seconds ``amount`` is there, if nobody takes anything meanwhile. Infinite: never."""
        self._fill(now)
        if amount <= self._level:
            return 0.0
        if amount > self.burst:
            return math.inf
        seconds = (amount - self._level) / self.rate
        # What these sums, and those of the next call, may be rounded off by is waited for too.
        return seconds + 4 * math.ulp(now + seconds)

    def take(self, amount: float) -> None:
        """Takes what :meth:`wait` has just said is there."""
        self._level -= amount

    def _fill(self, now: float) -> None:
        if now > self._at:
            self._level = min(self.burst, self._level + (now - self._at) * self.rate)
            self._at = now
