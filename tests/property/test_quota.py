"""Token buckets: never more than burst and rate allow, never less than they promise."""

import math
from fractions import Fraction

from hypothesis import assume, given
from hypothesis import strategies as st

from treeguard.capability.quota import TokenBucket

RATES = st.floats(1e-3, 1e9)
BURSTS = st.floats(1e-3, 1e12)
#: How a machine's uptime may stand.
STARTS = st.floats(0, 1e9)
#: Seconds between two calls, and what is asked for, as a share of the burst.
CALLS = st.lists(st.tuples(st.floats(0, 100) | st.sampled_from([0, 1e-9]), st.floats(0, 1.5)), max_size=60)


@given(RATES, BURSTS, STARTS, CALLS)
def test_never_more_than_burst_and_rate(
    rate: float, burst: float, now: float, calls: list[tuple[float, float]]
) -> None:
    """In any stretch of time, not only from the beginning, and whatever is asked for in between."""
    bucket = TokenBucket(rate, burst, now)
    taken: list[tuple[float, float]] = []
    for pause, share in calls:
        now += pause
        if bucket.wait(share * burst, now) == 0:
            bucket.take(share * burst)
            taken.append((now, share * burst))
    # Sums of floats are rounded; that of what was taken is not, so that a drift would be seen.
    for i, (start, _) in enumerate(taken):
        total = Fraction(0)
        for at, amount in taken[i:]:
            total += Fraction(amount)
            allowed = Fraction(burst) + Fraction(rate) * (Fraction(at) - Fraction(start))
            assert total <= allowed * (1 + Fraction(1, 10**12))


@given(st.integers(1, 64), st.integers(1, 64), st.lists(st.tuples(st.integers(0, 4096), st.integers(0, 80))))
def test_it_keeps_its_books(rate: int, burst: int, calls: list[tuple[int, int]]) -> None:
    """Where no sum is rounded, it gives what a model in fractions gives, no less and no more."""
    bucket = TokenBucket(rate, burst, 0)
    level, now = Fraction(burst), Fraction(0)
    for pause, amount in calls:
        now += Fraction(pause, 1024)
        level = min(Fraction(burst), level + Fraction(pause, 1024) * rate)
        wait = bucket.wait(amount, float(now))
        assert (wait == 0) == (amount <= level)
        assert (wait == math.inf) == (amount > burst)
        if wait == 0:
            bucket.take(amount)
            level -= amount
        elif wait < math.inf:
            exactly = float((amount - level) / rate)
            assert exactly <= wait <= exactly + 1e-6


@given(RATES, BURSTS, STARTS, CALLS)
def test_the_wait_is_enough(rate: float, burst: float, now: float, calls: list[tuple[float, float]]) -> None:
    """After the time that it says, it gives; and not a second is too much, but for rounding."""
    bucket = TokenBucket(rate, burst, now)
    for pause, share in calls:
        now += pause
        wait = bucket.wait(share * burst, now)
        if share > 1:
            assert wait == math.inf or share * burst <= burst
            continue
        assert wait <= burst / rate * (1 + 1e-9) + 1e-5
        now += wait
        assert bucket.wait(share * burst, now) == 0
        bucket.take(share * burst)


@given(RATES, BURSTS, STARTS, st.floats(0, 1e6))
def test_time_that_runs_backwards_stands_still(rate: float, burst: float, now: float, back: float) -> None:
    """It gives nothing twice."""
    assume(now - back < now)
    bucket = TokenBucket(rate, burst, now)
    assert bucket.wait(burst, now) == 0
    bucket.take(burst)
    assert bucket.wait(burst, now - back) > 0
    assert bucket.wait(burst, now) > 0
