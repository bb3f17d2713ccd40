"""What a child may ask for over its control connection, as values.

A bundle is handed to a child when it is spawned: a token that proves who it is, and the set of methods that it may
call.
"""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = [
    "CapabilityBundle",
    "CapabilitySet",
    "CapabilityToken",
    "GlobalLimits",
    "MethodRule",
    "MethodSelector",
    "QuotaSet",
]


class CapabilityToken(msgspec.Struct, frozen=True):
    """A secret that names its bearer. It is never shown."""

    text: str

    def __post_init__(self) -> None:
        if not self.text:
            raise ValueError("text of a CapabilityToken must not be empty")

    def __repr__(self) -> str:
        return "CapabilityToken(text='…')"

    def __rich_repr__(self) -> list[tuple[str, str]]:
        return [("text", "…")]


class MethodSelector(msgspec.Struct, frozen=True):
    """Which methods of a service are meant. Made by :meth:`exact`, :meth:`prefix` and :meth:`any`."""

    match: Literal["exact", "prefix", "any"]
    name: str = ""

    def __post_init__(self) -> None:
        if self.match == "any" and self.name:
            raise ValueError("name is not for 'any'")
        if self.match != "any" and not self.name:
            raise ValueError(f"name must be given for {self.match!r}")

    @classmethod
    def exact(cls, name: str) -> MethodSelector:
        """One method: ``"get"`` or ``"storage.get"``."""
        return cls("exact", name)

    @classmethod
    def prefix(cls, name: str) -> MethodSelector:
        """All methods whose name, or service and name, begins so: ``"storage."``."""
        return cls("prefix", name)

    @classmethod
    def any(cls) -> MethodSelector:
        """Every method of the service."""
        return cls("any")


class QuotaSet(msgspec.Struct, frozen=True):
    """How much, and how often. None: without limit. ``burst`` defaults to one second's worth."""

    bytes_per_sec: float | None = None
    ops_per_sec: float | None = None
    burst: float | None = None

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be positive, not {value!r}")


class GlobalLimits(msgspec.Struct, frozen=True):
    """Limits over all methods of a child together. None: without limit."""

    max_concurrent_requests: int | None = None
    max_streams: int | None = None
    max_blob_bytes: int | None = None

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ValueError(f"{name} must not be negative, not {value!r}")


class MethodRule(msgspec.Struct, frozen=True):
    """Methods that may be called, and how often."""

    method: MethodSelector
    quotas: QuotaSet | None = None


class CapabilitySet(msgspec.Struct, frozen=True):
    """What may be called, by service. What is not allowed is denied."""

    allowed: dict[str, tuple[MethodRule, ...]] = {}
    global_limits: GlobalLimits | None = None

    def __post_init__(self) -> None:
        own = {service: tuple(rules) for service, rules in self.allowed.items()}
        if "" in own:
            raise ValueError("allowed: the name of a service must not be empty")
        msgspec.structs.force_setattr(self, "allowed", own)


class CapabilityBundle(msgspec.Struct, frozen=True):
    """What a child is given: the token that proves who it is, and what it may do."""

    token: CapabilityToken
    capabilities: CapabilitySet = CapabilitySet()
