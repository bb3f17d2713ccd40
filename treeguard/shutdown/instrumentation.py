"""Reports shutdowns as they happen: to the log, and to OpenTelemetry if it is installed."""

from __future__ import annotations

from .._core.telemetry.instrumentation import telemetry
from .._core.telemetry.log import log_of
from ..types import ProcessId
from .ladder import Shutdown

__all__ = ["ShutdownInstrumentation"]


class ShutdownInstrumentation:
    """One shutdown: a span with an event for each step."""

    def __init__(self, pid: ProcessId) -> None:
        self._pid = pid
        self._told = 0
        self._log = log_of("shutdown", pid)
        self._span = telemetry().span("treeguard.shutdown", {"treeguard.process_id": str(pid)})

    def went_on(self, state: Shutdown) -> None:
        """Reports the steps that are new in this state. Call it with each new state."""
        for step in state.steps[self._told :]:
            attributes = {"treeguard.outcome": step.outcome, "treeguard.seconds": step.ended - step.began}
            self._span.event(f"treeguard.shutdown.{step.step}", attributes)
            error = f": {step.error}" if step.error else ""
            self._log.debug(
                "%s: %s: %s after %.3g s%s", self._pid, step.step, step.outcome, step.ended - step.began, error
            )
        self._told = len(state.steps)

    def ended(self, state: Shutdown) -> None:
        """Reports the end of the shutdown."""
        how = {"treeguard.exited": state.exited, "treeguard.forced": state.forced}
        self._span.set({**how, "treeguard.acknowledged": state.acknowledged})
        self._span.end()
        telemetry().count("treeguard.shutdowns", how)
        if not state.exited:
            self._log.warning("%s is not empty, although it was killed", self._pid)
        elif state.forced:
            self._log.info("%s had to be killed", self._pid)

    def failed(self, error: BaseException) -> None:
        """Reports that the shutdown was cancelled or raised an error."""
        self._span.end(error)
