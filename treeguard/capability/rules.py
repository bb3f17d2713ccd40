"""The value types for what may be called and how often: selectors, quotas, limits and rules."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import msgspec

from .._core.validation import instance, items, number, one_of, text, whole_number, wrong_value

__all__ = ["GlobalLimits", "MethodRule", "MethodSelector", "QuotaSet", "checked_rules", "selects"]


class MethodSelector(msgspec.Struct, frozen=True):
    """Selects methods of a service. Create one with :meth:`exact`, :meth:`prefix` or :meth:`any`.

    A name is the method's name, ``"get"``, or begins with the service's name and a dot, ``"storage.get"``. In the
    second form, only the part after the dot is compared. So ``prefix("s")`` selects methods that begin with an s, never
    the whole service ``storage``.
    """

    match: Literal["exact", "prefix", "any"]
    name: str = ""

    def __post_init__(self) -> None:
        one_of("match", self.match, ("exact", "prefix", "any"))
        if self.match == "any":
            one_of("name", self.name, ("",))
        else:
            text("name", self.name)

    @classmethod
    def exact(cls, name: str) -> MethodSelector:
        """Selects one method: ``"get"`` or ``"storage.get"``."""
        return cls("exact", name)

    @classmethod
    def prefix(cls, name: str) -> MethodSelector:
        """Selects all methods whose name, or service and name, begins with this: ``"ge"`` or ``"storage."``."""
        return cls("prefix", name)

    @classmethod
    def any(cls) -> MethodSelector:
        """Selects every method of the service."""
        return cls("any")

    def matches(self, service: str, method: str) -> bool:
        """Returns whether this selects the method, as a rule of ``service``. An empty method name never matches."""
        instance("service", service, str, "a string")
        instance("method", method, str, "a string")
        return selects(self, service, method)


class QuotaSet(msgspec.Struct, frozen=True):
    """The rates at which methods may be called. None means no limit.

    ``burst`` is how many operations, and how many bytes, may come at once. It defaults to the amount of one second, and
    to at least one operation. To give operations and bytes different bursts, use two rules for the same methods. Rates
    may be fractions, such as 0.5 operations per second. A burst must be a whole number.
    """

    bytes_per_sec: float | None = None
    ops_per_sec: float | None = None
    burst: float | None = None

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value is None:
                continue
            accepted = "a positive number or None" if name != "burst" else "a positive whole number or None"
            if not number(name, value, accepted) > 0 or (name == "burst" and value not in (math.inf, value // 1)):
                raise wrong_value(name, accepted, value)


class GlobalLimits(msgspec.Struct, frozen=True):
    """Limits over all methods of a child together. None means no limit."""

    max_concurrent_requests: int | None = None
    max_streams: int | None = None
    max_blob_bytes: int | None = None

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value is not None:
                whole_number(name, value, least=0, accepted="a whole number or None")


class MethodRule(msgspec.Struct, frozen=True):
    """Methods that may be called, and the rate at which all of them together may be called."""

    method: MethodSelector
    quotas: QuotaSet | None = None

    def __post_init__(self) -> None:
        instance("method", self.method, MethodSelector, "a MethodSelector")
        instance("quotas", self.quotas, QuotaSet | None, "a QuotaSet or None")


def selects(selector: MethodSelector, service: str, method: str) -> bool:
    """Returns what :meth:`MethodSelector.matches` does, without its checks."""
    if not method or selector.match == "any":
        return bool(method)
    name = selector.name.removeprefix(f"{service}.")
    return method == name if selector.match == "exact" else method.startswith(name)


def checked_rules(allowed: object) -> dict[str, tuple[MethodRule, ...]]:
    """Returns the rules by service. Raises TypeError or ValueError that names the argument and the service."""
    found = {}
    for service, rules in instance("allowed", allowed, Mapping, "a mapping").items():
        text("allowed: the name of a service", service)
        found[service] = items(f"allowed[{service!r}]", rules, "a sequence of MethodRule")
        for rule in found[service]:
            instance(f"allowed[{service!r}]", rule, MethodRule, "a sequence of MethodRule")
    return found
