"""What a child may ask for over its control connection, as values.

A bundle is handed to a child when it is spawned: a token that proves who it is, and the set of methods that it may
call.
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
    """A secret that names its bearer. It is never shown, and comparing two takes the same time wherever they differ."""

    text: str

    def __post_init__(self) -> None:
        if not self.text:
            raise ValueError("text of a CapabilityToken must not be empty")

    @classmethod
    def generate(cls) -> CapabilityToken:
        """A new one, of 256 random bits."""
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
        return str(self.text).encode("utf-8", "surrogatepass")  # What is no text is not equal to one; that is all.

    def __repr__(self) -> str:
        return "CapabilityToken(text='…')"

    def __rich_repr__(self) -> list[tuple[str, str]]:
        return [("text", "…")]


# The dict is for the meter, which is no part of the value: it is not compared, copied or sent.
class CapabilitySet(msgspec.Struct, frozen=True, dict=True):
    """What may be called, by service. What is not allowed is denied.

    With ``within``, a call must be allowed there too: so an attenuated set cannot give more than what it was made
    from, whatever its own rules say.
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
        """Lets a call of ``size`` bytes pass, or raises: see :meth:`Authorizer.authorize`.

        The use is counted by this very object, and by the one that it was attenuated from. To count a child's use by
        itself, or by another clock than :func:`time.monotonic`, make a :meth:`meter`.
        """
        self._meter.authorize(service, method, size)

    def meter(self, *, clock: Callable[[], float] = time.monotonic) -> Authorizer:
        """A new count of use, for one child, with nothing used yet."""
        meter: Authorizer | None = None
        for each in reversed(list(self.lineage())):
            meter = Authorizer(each.allowed, each.global_limits, within=meter, clock=clock)
        assert meter is not None
        return meter

    def lineage(self) -> Iterator[CapabilitySet]:
        """This set, the one that it was attenuated from, and so on. However many these are, nothing here recurses."""
        each: CapabilitySet | None = self
        while each is not None:
            yield each
            each = each.within

    def attenuate(
        self,
        allowed: Mapping[str, Sequence[MethodRule]] | None = None,
        global_limits: GlobalLimits | None = None,
    ) -> CapabilitySet:
        """A set that is narrower, or as wide: what these rules and limits authorize and this set does too."""
        own = self.allowed if allowed is None else allowed
        return CapabilitySet({service: tuple(rules) for service, rules in own.items()}, global_limits, self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CapabilitySet):
            return NotImplemented
        return all(
            a is b or (a is not None and b is not None and (a.allowed, a.global_limits) == (b.allowed, b.global_limits))
            for a, b in itertools.zip_longest(self.lineage(), other.lineage())
        )

    __hash__ = None  # type: ignore[assignment] # It holds a dict.

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
    """What a child is given: the token that proves who it is, and what it may do."""

    token: CapabilityToken
    capabilities: CapabilitySet = CapabilitySet()

    def attenuate(
        self,
        allowed: Mapping[str, Sequence[MethodRule]] | None = None,
        global_limits: GlobalLimits | None = None,
        *,
        token: CapabilityToken | None = None,
    ) -> CapabilityBundle:
        """A bundle for somebody else who may do less: see :meth:`CapabilitySet.attenuate`. Its token is a new one."""
        return CapabilityBundle(
            token or CapabilityToken.generate(), self.capabilities.attenuate(allowed, global_limits)
        )
