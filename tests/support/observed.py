"""A supervisor that is observed: ``python -m tests.support.observed``. Prints its spans, counts and log as JSON.

With ``without`` as its argument, OpenTelemetry cannot be imported.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
import uuid
from typing import Any

__all__ = ["main"]


async def live() -> None:
    """One tree that ends by itself, one that is shut down, one that cannot be started, and one that is silent."""
    from treeguard import (
        ConnectionId,
        HeartbeatTracker,
        LocalProcessManager,
        ProgramNotFound,
        ShutdownTreeResponse,
        SpawnParams,
    )
    from treeguard.shutdown import AskShutdown, Kill

    async def refuse() -> ShutdownTreeResponse:
        return ShutdownTreeResponse(acknowledged=False)

    async with LocalProcessManager() as manager:
        brief = await manager.spawn_child(SpawnParams("true", kind="io"))
        await manager.wait_for_exit(brief.pid)
        stays = await manager.spawn_child(SpawnParams("sleep", ("1000",), kind="storage", env={"SECRET": "s3cret"}))
        await manager.shutdown(stays.pid, (AskShutdown(refuse, 1, 1), Kill(20)))
        with contextlib.suppress(ProgramNotFound):
            await manager.spawn_child(SpawnParams("/does/not/exist", ("s3cret",)))
        silent = await manager.spawn_child(SpawnParams("sleep", ("1000",)))
        async with HeartbeatTracker(manager, 0.05, 1) as tracker:
            tracker.track_connection(ConnectionId(uuid.uuid4()), silent.pid)
            await manager.wait_for_exit(silent.pid)


def observe() -> dict[str, Any]:
    """Lives with OpenTelemetry's own exporters in memory. What they have got."""
    from opentelemetry import metrics, trace
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracers = TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(tracers)
    metrics.set_meter_provider(MeterProvider([reader]))
    with trace.get_tracer("application").start_as_current_span("request"):
        asyncio.run(live())
    data = reader.get_metrics_data()
    assert data is not None
    spans = [json.loads(span.to_json()) for span in exporter.get_finished_spans()]
    return {"spans": spans, "metrics": json.loads(data.to_json())}


class Kept(logging.Handler):
    """Keeps what the records say."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[list[Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        ids = [vars(record).get(name, "missing") for name in ("process_id", "connection_id")]
        self.records.append([record.name, record.levelname, record.getMessage(), *ids])


def main() -> None:
    """Lives, and prints."""
    kept = Kept()
    logging.getLogger("treeguard").addHandler(kept)
    logging.getLogger("treeguard").setLevel(logging.DEBUG)
    told: dict[str, Any] = {}
    if sys.argv[1:] == ["without"]:
        sys.modules["opentelemetry"] = None  # type: ignore[assignment]
        asyncio.run(live())
    else:
        told = observe()
    print(json.dumps({**told, "log": kept.records}))


if __name__ == "__main__":
    main()
