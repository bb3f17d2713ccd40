"""What may be called, and how much of it, as values: selectors, quotas, limits and rules."""

from __future__ import annotations

import math
from typing import Literal

import msgspec

__all__ = ["GlobalLimits", "MethodRule", "MethodSelector", "QuotaSet"]


class MethodSelector(msgspec.Struct, frozen=True):
    """Which methods of a service are meant. Made by :meth:`exact`, :meth:`prefix` and :meth:`any`.

    A name is the method's, ``"get"``, or begins with the service's and a dot, ``"storage.get"``, and then means what
    comes after it. So ``prefix("s")`` is about methods that begin with an s, never about the whole service ``storage``.
    """

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
        """All methods whose name, or service and name, begins so: ``"ge"`` or ``"storage."``."""
        return cls("prefix", name)

    @classmethod
    def any(cls) -> MethodSelector:
        """Every method of the service."""
        return cls("any")

    def matches(self, service: str, method: str) -> bool:
        """Whether a method is meant, when this stands among the rules of ``service``. No method has an empty name."""
        if not method or self.match == "any":
            return bool(method)
        name = self.name.removeprefix(f"{service}.")
        return method == name if self.match == "exact" else method.startswith(name)


class QuotaSet(msgspec.Struct, frozen=True):
    """How much, and how often. None: without limit.

    ``burst`` is how many operations, and how many bytes, may come at once; it defaults to one second's worth, and to
    one operation where that is less. Two rules for the same methods give operations and bytes a burst each.
    Rates may be fractions, 0.5 operations a second; a burst is of whole ones.
    """

    bytes_per_sec: float | None = None
    ops_per_sec: float | None = None
    burst: float | None = None

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(f"{name} must be a number, not {value!r}")
            if not value > 0:
                raise ValueError(f"{name} must be positive, not {value!r}")
            if name == "burst" and value not in (math.inf, value // 1):
                raise ValueError(f"{name} must be a whole number, not {value!r}")


class GlobalLimits(msgspec.Struct, frozen=True):
    """Limits over all methods of a child together. None: without limit."""

    max_concurrent_requests: int | None = None
    max_streams: int | None = None
    max_blob_bytes: int | None = None

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name} must be a whole number, not {value!r}")
            if value < 0:
                raise ValueError(f"{name} must not be negative, not {value!r}")


class MethodRule(msgspec.Struct, frozen=True):
    """Methods that may be called, and how often all of them together."""

    method: MethodSelector
    quotas: QuotaSet | None = None
