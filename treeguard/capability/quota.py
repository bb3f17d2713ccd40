"""A token bucket: a burst at once, and a rate per second. It has no clock; the caller passes the time."""

from __future__ import annotations

import math

__all__ = ["TokenBucket"]


class TokenBucket:
    """A bucket that holds at most ``burst``, starts full, and is refilled with ``rate`` per second.

    In any period, at most ``burst + rate * time`` is taken out. A time that runs backwards counts as unchanged.
    """

    __slots__ = ("_at", "_level", "burst", "rate")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self.rate = rate
        self.burst = burst
        self._level = burst
        self._at = now

    def wait(self, amount: float, now: float) -> float:
        """Returns in how many seconds ``amount`` is available if nothing is taken meanwhile. Infinity means never."""
        self._fill(now)
        if amount <= self._level:
            return 0.0
        if amount > self.burst:
            return math.inf
        seconds = (amount - self._level) / self.rate
        # The wait includes the possible rounding errors of these sums and of those in the next call.
        return seconds + 4 * math.ulp(now + seconds)

    def take(self, amount: float) -> None:
        """Takes an amount that :meth:`wait` has just reported as available."""
        self._level -= amount

    def _fill(self, now: float) -> None:
        if now > self._at:
            self._level = min(self.burst, self._level + (now - self._at) * self.rate)
            self._at = now
