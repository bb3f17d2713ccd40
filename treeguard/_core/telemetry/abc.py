"""Spans and counters, as a seam: by itself it records nothing."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["NOT_RECORDED", "Attributes", "Span", "Telemetry"]

Attributes = Mapping[str, str | bool | int | float]


class Span:
    """Something that takes its time. This one is not recorded."""

    def set(self, attributes: Attributes) -> None:
        """What became known of it."""

    def event(self, name: str, attributes: Attributes) -> None:
        """Something that happened in it now."""

    def end(self, error: BaseException | None = None) -> None:
        """It is over, with an error or without."""


NOT_RECORDED = Span()


class Telemetry:
    """Where spans and counts go. Here: nowhere."""

    #: Whether it is worth putting together what they are told.
    records = False

    def span(self, name: str, attributes: Attributes) -> Span:
        """Begins a span, within the one that is current where this is called."""
        return NOT_RECORDED

    def count(self, name: str, attributes: Attributes, number: int = 1) -> None:
        """Counts: ``treeguard._core.telemetry.otel`` has the names."""
