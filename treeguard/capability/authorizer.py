"""Authorizes a child's calls by its capabilities, and counts the calls that are under way."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType

from .._core.validation import function, instance, number, wrong_value
from ..errors import capability_denied, quota_exceeded
from .quota import TokenBucket
from .rules import GlobalLimits, MethodRule, QuotaSet, checked_rules, selects

__all__ = ["Authorizer", "Permit"]

#: Errors repeat at most this many characters of a name, since the sender may send any.
_SHOWN = 80

_WORDS = {"max_concurrent_requests": "requests", "max_streams": "streams"}


class Permit:
    """A place within a limit. It is given back once: by leaving it as a context, or by :meth:`release`."""

    __slots__ = ("_release",)

    def __init__(self, release: Callable[[], None]) -> None:
        self._release: Callable[[], None] | None = release

    def release(self) -> None:
        """Gives the place back. Calling it again has no effect."""
        release, self._release = self._release, None
        if release is not None:
            release()

    def __enter__(self) -> Permit:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class Authorizer:
    """The use that one child makes of its capabilities. :meth:`CapabilitySet.meter` creates one for each child.

    A call is authorized if at least one rule of its service matches, and if all matching rules have quota left. Each of
    them is charged. With ``within``, each call must also pass that meter, and is charged to it. Only one thread at a
    time may use a meter.
    """

    def __init__(
        self,
        allowed: Mapping[str, Sequence[MethodRule]],
        limits: GlobalLimits | None = None,
        *,
        within: Authorizer | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        checked_rules(allowed)
        instance("limits", limits, GlobalLimits | None, "GlobalLimits or None")
        instance("within", within, Authorizer | None, "an Authorizer or None")
        self._clock = function("clock", clock)
        now = clock()
        self._allowed = {
            service: [(rule.method, *_buckets(rule.quotas, now)) for rule in rules]
            for service, rules in allowed.items()
        }
        self._limits = limits or GlobalLimits()
        self._in_use = dict.fromkeys(_WORDS, 0)
        self._within = within

    def authorize(self, service: str, method: str, size: float = 0) -> None:
        """Charges a call of ``size`` bytes, or raises and charges nothing.

        Raises :class:`~treeguard.CapabilityDenied` if the call is never allowed, and
        :class:`~treeguard.errors.QuotaExceeded` if it is allowed again in ``retry_after`` seconds.
        """
        if type(service) is not str or type(method) is not str or type(size) is not int or size < 0:
            _check_call(
                service, method, size
            )  # This is called for every message, so what is usual is not checked again.
        charges: list[tuple[TokenBucket, float]] = []
        for meter in self._chain():
            meter._admit(service, method, size, charges)
        if not charges:
            return
        now = self._clock()
        wait = max(bucket.wait(amount, now) for bucket, amount in charges)
        if wait == math.inf:
            raise capability_denied(
                f"{_name(service, method)} with {size!r} bytes is more than its quota holds at once"
            )
        if wait > 0:
            raise quota_exceeded(f"{_name(service, method)} has used up its quota for now", retry_after=wait)
        for bucket, amount in charges:
            bucket.take(amount)

    def request(self) -> Permit:
        """Takes a place for a request that is being answered. Raises as :meth:`stream` does."""
        return self._acquire("max_concurrent_requests")

    def stream(self) -> Permit:
        """Takes a place for an open stream.

        Raises :class:`~treeguard.errors.QuotaExceeded` if all places are taken, without ``retry_after``, since it is
        unknown when one is given back. Raises :class:`~treeguard.CapabilityDenied` if the limit is zero.
        """
        return self._acquire("max_streams")

    def _chain(self) -> Iterator[Authorizer]:
        meter: Authorizer | None = self
        while meter is not None:
            yield meter
            meter = meter._within

    def _admit(self, service: str, method: str, size: float, charges: list[tuple[TokenBucket, float]]) -> None:
        """Raises unless a rule matches. Adds the charges of all matching rules to ``charges``."""
        largest = self._limits.max_blob_bytes
        if largest is not None and size > largest:
            raise capability_denied(f"{_name(service, method)} with {size!r} bytes is over max_blob_bytes, {largest}")
        matched = False
        for selector, ops, volume in self._allowed.get(service, ()):
            if selects(selector, service, method):
                matched = True
                if ops is not None:
                    charges.append((ops, 1))
                if volume is not None and size:
                    charges.append((volume, size))
        if not matched:
            raise capability_denied(f"{_name(service, method)} is not allowed")

    def _acquire(self, what: str) -> Permit:
        for meter in self._chain():
            limit = getattr(meter._limits, what)
            if limit == 0:
                raise capability_denied(f"no {_WORDS[what]} are allowed")
            if limit is not None and meter._in_use[what] >= limit:
                raise quota_exceeded(f"{limit} {_WORDS[what]} are under way, as many as are allowed", retry_after=None)
        for meter in self._chain():
            meter._in_use[what] += 1
        return Permit(lambda: self._give_back(what))

    def _give_back(self, what: str) -> None:
        for meter in self._chain():
            meter._in_use[what] -= 1


def _check_call(service: object, method: object, size: float) -> None:
    instance("service", service, str, "a string")
    instance("method", method, str, "a string")
    if not 0 <= number("size", size, "a number of bytes") < math.inf:
        raise wrong_value("size", "a number of bytes", size)


def _buckets(quotas: QuotaSet | None, now: float) -> tuple[TokenBucket | None, TokenBucket | None]:
    """Returns the buckets for operations and for bytes."""
    if quotas is None:
        return None, None
    ops, volume, burst = quotas.ops_per_sec, quotas.bytes_per_sec, quotas.burst
    return (
        # A burst below one would never allow an operation.
        None if ops is None else TokenBucket(ops, max(1, ops) if burst is None else burst, now),
        None if volume is None else TokenBucket(volume, volume if burst is None else burst, now),
    )


def _name(service: str, method: str) -> str:
    name = f"{service}.{method}"
    return repr(name if len(name) <= _SHOWN else f"{name[:_SHOWN]}…")
