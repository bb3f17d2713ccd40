"""OpenTelemetry: treeguard's spans and counts go to the providers that the application has set."""

from __future__ import annotations

from opentelemetry import metrics, trace

from .abc import Attributes, Span, Telemetry

__all__ = ["COUNTERS", "OpenTelemetry"]

#: The counters, with what they count.
COUNTERS = {
    "treeguard.trees.spawned": "trees whose root was started",
    "treeguard.trees.failed": "trees that could not be started",
    "treeguard.trees.ended": "trees of which nothing is left any more",
    "treeguard.shutdowns": "shutdowns that came to their end",
    "treeguard.heartbeats.expired": "connections whose tree was killed because they were silent, or called for help",
}
#: Counts up and down: the number of trees at the moment.
LIVING = "treeguard.trees.living"


class OpenTelemetry(Telemetry):
    """Records through the global tracer and meter providers, even if they are set later."""

    records = True

    def __init__(self) -> None:
        self._tracer = trace.get_tracer("treeguard")
        meter = metrics.get_meter("treeguard")
        self._counters: dict[str, metrics.Counter | metrics.UpDownCounter] = {
            name: meter.create_counter(name, unit="1", description=words) for name, words in COUNTERS.items()
        }
        self._counters[LIVING] = meter.create_up_down_counter(LIVING, unit="1", description="trees that are not empty")

    def span(self, name: str, attributes: Attributes) -> Span:
        """See :meth:`Telemetry.span`."""
        return _Recorded(self._tracer.start_span(name, attributes=attributes))

    def count(self, name: str, attributes: Attributes, number: int = 1) -> None:
        """See :meth:`Telemetry.count`."""
        self._counters[name].add(number, attributes)


class _Recorded(Span):
    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def set(self, attributes: Attributes) -> None:
        self._span.set_attributes(attributes)

    def event(self, name: str, attributes: Attributes) -> None:
        self._span.add_event(name, attributes)

    def end(self, error: BaseException | None = None) -> None:
        if error is not None:
            self._span.record_exception(error)
            self._span.set_status(trace.Status(trace.StatusCode.ERROR, type(error).__name__))
        self._span.end()
