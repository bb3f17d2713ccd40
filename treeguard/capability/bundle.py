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

from .._core.validation import instance, text
from .authorizer import Authorizer
from .rules import GlobalLimits, MethodRule, MethodSelector, QuotaSet, checked_rules

__all__ = [
    "CapabilityBundle",
    "CapabilitySet",
    "CapabilityToken",
    "GlobalLimits",
    "MethodRule",
    "MethodSelector",
    "QuotaSet",
    "lineage",
]

_TOKEN_BYTES = 32


class CapabilityToken(msgspec.Struct, frozen=True):
    """A secret that identifies its bearer. It is never shown.

    A comparison of two tokens takes the same time wherever they differ.
    """

    text: str

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):  # The message must not show what may be the secret.
            raise TypeError(f"text must be a string, not of type {type(self.text).__name__}")
        text("text", self.text)

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

    The rules and limits are the value. :meth:`authorize` counts use for this object, as a convenience: equal sets have
    the same rules, and each counts for itself. A control connection counts with a :meth:`meter` of its own.

    With ``within``, a call must be allowed there too. So an attenuated set cannot allow more than the set that it was
    made from, whatever its own rules are.
    """

    allowed: dict[str, tuple[MethodRule, ...]] = {}
    global_limits: GlobalLimits | None = None
    within: CapabilitySet | None = None

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "allowed", checked_rules(self.allowed))
        instance("global_limits", self.global_limits, GlobalLimits | None, "GlobalLimits or None")
        instance("within", self.within, CapabilitySet | None, "a CapabilitySet or None")

    def authorize(self, service: str, method: str, size: float = 0) -> None:
        """Charges a call of ``size`` bytes, or raises: see :meth:`Authorizer.authorize`.

        This object counts the use, as does the set that it was attenuated from. To count each child's use separately,
        or with another clock than :func:`time.monotonic`, create a :meth:`meter`.
        """
        self._meter.authorize(service, method, size)

    def meter(self, *, clock: Callable[[], float] = time.monotonic) -> Authorizer:
        """Returns a new meter for one child, without any use so far."""
        meter: Authorizer | None = None
        for each in reversed(list(lineage(self))):
            meter = Authorizer(each.allowed, each.global_limits, within=meter, clock=clock)
        assert meter is not None
        return meter

    def attenuate(
        self,
        allowed: Mapping[str, Sequence[MethodRule]] | None = None,
        global_limits: GlobalLimits | None = None,
    ) -> CapabilitySet:
        """Returns a set that is narrower or equal: it allows what both these rules and limits and this set allow."""
        own = self.allowed if allowed is None else allowed
        return CapabilitySet(dict(instance("allowed", own, Mapping, "a mapping or None")), global_limits, self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CapabilitySet):
            return NotImplemented
        return all(
            a is b or (a is not None and b is not None and (a.allowed, a.global_limits) == (b.allowed, b.global_limits))
            for a, b in itertools.zip_longest(lineage(self), lineage(other))
        )

    def __hash__(self) -> int:
        return hash(tuple((frozenset(each.allowed.items()), each.global_limits) for each in lineage(self)))

    def __repr__(self) -> str:
        own = [f"CapabilitySet(allowed={e.allowed!r}, global_limits={e.global_limits!r}" for e in lineage(self)]
        return ", within=".join([*own, "None"]) + ")" * len(own)

    @functools.cached_property
    def _meter(self) -> Authorizer:
        new = list(itertools.takewhile(lambda each: "_meter" not in vars(each), lineage(self)))
        oldest = new[-1].within
        meter = None if oldest is None else oldest._meter
        for each in reversed(new):
            meter = Authorizer(each.allowed, each.global_limits, within=meter)
            vars(each)["_meter"] = meter
        assert meter is not None
        return meter


def lineage(capabilities: CapabilitySet) -> Iterator[CapabilitySet]:
    """Yields a set, the set that it was attenuated from, and so on. It never recurses, even for many sets."""
    each: CapabilitySet | None = capabilities
    while each is not None:
        yield each
        each = each.within


class CapabilityBundle(msgspec.Struct, frozen=True):
    """What a child is given: the token that proves its identity, and its capabilities."""

    token: CapabilityToken
    capabilities: CapabilitySet = CapabilitySet()

    def __post_init__(self) -> None:
        instance("token", self.token, CapabilityToken, "a CapabilityToken")
        instance("capabilities", self.capabilities, CapabilitySet, "a CapabilitySet")

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
            CapabilityToken.generate() if token is None else token, self.capabilities.attenuate(allowed, global_limits)
        )
