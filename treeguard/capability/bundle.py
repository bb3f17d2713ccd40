"""The value types for what a child may ask for over its control connection.

A child gets a bundle when it is spawned: a token that proves its identity, and the set of methods that it may call.
"""

from __future__ import annotations

import functools
import hmac
import itertools
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from .authorizer import Authorizer
from .rules import GlobalLimits, MethodRule, MethodSelector, QuotaSet

__all__ = [
    "CapabilityBundle",
    "CapabilitySet",
    "CapabilityToken",
    "GlobalLimits",
    "MethodRule",
    "MethodSelector",
    "QuotaSet",
]

_TOKEN_BYTES = 32


class CapabilityToken(msgspec.Struct, frozen=True):
    """A secret that identifies its bearer. It is never shown.

    A comparison of two tokens takes the same time wherever they differ.
    """

    text: str

    def __post_init__(self) -> None:
        if not self.text:
            raise ValueError("text of a CapabilityToken must not be empty")

    @classmethod
    def generate(cls) -> CapabilityToken:
        """Returns a new token of 256 random bits."""
        return cls(secrets.token_urlsafe(_TOKEN_BYTES))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CapabilityToken):
            return NotImplemented
        return hmac.compare_digest(self.encoded, other.encoded)

    def __hash__(self) -> int:
        return hash(self.text)

    @property
    def encoded(self) -> bytes:
        """The secret, as bytes."""
        return str(self.text).encode("utf-8", "surrogatepass")  # Invalid text only has to compare unequal.

    def __repr__(self) -> str:
        return "CapabilityToken(text='…')"

    def __rich_repr__(self) -> list[tuple[str, str]]:
        return [("text", "…")]


# The dict holds the meter, which is not part of the value: it is not compared, copied or sent.
class CapabilitySet(msgspec.Struct, frozen=True, dict=True):
    """The methods that may be called, by service. Everything else is denied.

    With ``within``, a call must be allowed there too. So an attenuated set cannot allow more than the set that it was
    made from, whatever its own rules are.
    """

    allowed: dict[str, tuple[MethodRule, ...]] = {}
    global_limits: GlobalLimits | None = None
    within: CapabilitySet | None = None

    def __post_init__(self) -> None:
        own = {service: tuple(rules) for service, rules in self.allowed.items()}
        if "" in own:
            raise ValueError("allowed: the name of a service must not be empty")
        msgspec.structs.force_setattr(self, "allowed", own)

    def authorize(self, service: str, method: str, size: float = 0) -> None:
        """Charges a call of ``size`` bytes, or raises: see :meth:`Authorizer.authorize`.

        This object counts the use, as does the set that it was attenuated from. To count each child's use separately,
        or with another clock than :func:`time.monotonic`, create a :meth:`meter`.
        """
        self._meter.authorize(service, method, size)

    def meter(self, *, clock: Callable[[], float] = time.monotonic) -> Authorizer:
        """Returns a new meter for one child, without any use so far."""
        meter: Authorizer | None = None
        for each in reversed(list(self.lineage())):
            meter = Authorizer(each.allowed, each.global_limits, within=meter, clock=clock)
        assert meter is not None
        return meter

    def lineage(self) -> Iterator[CapabilitySet]:
        """Yields this set, the set that it was attenuated from, and so on. It never recurses, even for many sets."""
        each: CapabilitySet | None = self
        while each is not None:
            yield each
            each = each.within

    def attenuate(
        self,
        allowed: Mapping[str, Sequence[MethodRule]] | None = None,
        global_limits: GlobalLimits | None = None,
    ) -> CapabilitySet:
        """Returns a set that is narrower or equal: it allows what both these rules and limits and this set allow."""
        own = self.allowed if allowed is None else allowed
        return CapabilitySet({service: tuple(rules) for service, rules in own.items()}, global_limits, self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CapabilitySet):
            return NotImplemented
        return all(
            a is b or (a is not None and b is not None and (a.allowed, a.global_limits) == (b.allowed, b.global_limits))
            for a, b in itertools.zip_longest(self.lineage(), other.lineage())
        )

    __hash__ = None  # type: ignore[assignment] # A set holds a dict.

    def __repr__(self) -> str:
        own = [f"CapabilitySet(allowed={e.allowed!r}, global_limits={e.global_limits!r}" for e in self.lineage()]
        return ", within=".join([*own, "None"]) + ")" * len(own)

    @functools.cached_property
    def _meter(self) -> Authorizer:
        new = list(itertools.takewhile(lambda each: "_meter" not in vars(each), self.lineage()))
        oldest = new[-1].within
        meter = None if oldest is None else oldest._meter
        for each in reversed(new):
            meter = Authorizer(each.allowed, each.global_limits, within=meter)
            vars(each)["_meter"] = meter
        assert meter is not None
        return meter


class CapabilityBundle(msgspec.Struct, frozen=True):
    """What a child is given: the token that proves its identity, and its capabilities."""

    token: CapabilityToken
    capabilities: CapabilitySet = CapabilitySet()

    def __post_init__(self) -> None:
        for name, kind in (("token", CapabilityToken), ("capabilities", CapabilitySet)):
            if not isinstance(getattr(self, name), kind):
                raise TypeError(f"{name} must be a {kind.__name__}, not {type(getattr(self, name)).__name__}")

    def attenuate(
        self,
        allowed: Mapping[str, Sequence[MethodRule]] | None = None,
        global_limits: GlobalLimits | None = None,
        *,
        token: CapabilityToken | None = None,
    ) -> CapabilityBundle:
        """Returns a bundle with a new token, for another process with fewer rights.

        See :meth:`CapabilitySet.attenuate`.
        """
        return CapabilityBundle(
            token or CapabilityToken.generate(), self.capabilities.attenuate(allowed, global_limits)
        )
