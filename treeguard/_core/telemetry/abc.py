"""The interface for spans and counters. By itself it records nothing."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["NOT_RECORDED", "Attributes", "Span", "Telemetry"]

Attributes = Mapping[str, str | bool | int | float]


class Span:
    """An operation that takes time. This one is not recorded."""

    def set(self, attributes: Attributes) -> None:
        """Adds attributes that became known."""

    def event(self, name: str, attributes: Attributes) -> None:
        """Adds an event that happened within the span just now."""

    def end(self, error: BaseException | None = None) -> None:
        """Ends the span, with or without an error."""


NOT_RECORDED = Span()


class Telemetry:
    """The destination of spans and counts. This one discards them."""

    #: Whether it records anything, so that building the attributes is worth the cost.
    records = False

    def span(self, name: str, attributes: Attributes) -> Span:
        """Begins a span within the current one."""
        return NOT_RECORDED

    def count(self, name: str, attributes: Attributes, number: int = 1) -> None:
        """Adds to a counter. ``treeguard._core.telemetry.otel`` lists the names."""
