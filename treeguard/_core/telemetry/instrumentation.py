"""Reports about trees as things happen: to the log, and to OpenTelemetry if it is installed and used."""

from __future__ import annotations

import functools
import sys
from types import MappingProxyType

from ...errors import ProcessEnded, SpawnError
from ...types import ConnectionId, ProcessId, RootExit
from .abc import NOT_RECORDED, Attributes, Telemetry
from .log import log_of, report

__all__ = ["TreeInstrumentation", "telemetry", "tell_expired"]

_NONE = Telemetry()


def telemetry() -> Telemetry:
    """The telemetry of this process: OpenTelemetry's, once the application has imported ``opentelemetry``."""
    return _open_telemetry() if "opentelemetry.trace" in sys.modules else _NONE


@functools.cache
def _open_telemetry() -> Telemetry:
    try:
        from .otel import OpenTelemetry
    except ImportError:
        return _NONE
    return OpenTelemetry()


def tell_expired(pid: ProcessId, conn: ConnectionId, words: str) -> None:
    """Reports a child whose tree is killed, and why."""
    log_of("heartbeat", pid, conn).warning("%s; its tree is killed", words)
    telemetry().count("treeguard.heartbeats.expired", {})


class TreeInstrumentation:
    """The reports about one tree: a span for its spawn, and counts and log records for its beginning and end.

    Each is reported at most once, even if it is called again. An exception from a log handler or an exporter is
    reported, and changes nothing for the tree.
    """

    __slots__ = ("_kind", "_open", "_over", "_pid", "_span", "_started", "_telemetry")

    def __init__(self, pid: ProcessId, kind: str, program: str | None, *, begun: bool = False) -> None:
        """``begun``: the root runs already, which was not reported. Then only the end goes to the log."""
        self._pid = pid
        self._kind = kind
        self._started = begun
        self._open = not begun
        self._over = False
        self._span = NOT_RECORDED
        self._telemetry = _NONE if begun else telemetry()
        if self._telemetry.records:
            # Arguments and environment are left out, because they may hold secrets.
            attributes = {"treeguard.kind": kind, "treeguard.process_id": str(pid), "treeguard.program": program or ""}
            try:
                self._span = self._telemetry.span("treeguard.spawn", attributes)
            except Exception as error:
                report("telemetry raised", error)

    def started(self, os_pid: int) -> None:
        """Reports that the root runs."""
        if self._started:
            return
        self._started = True
        try:
            if self._telemetry.records:
                self._span.set({"process.pid": os_pid})
                self._count("treeguard.trees.spawned")
                self._count("treeguard.trees.living")
            self._end_spawn(None)
            log_of("trees", self._pid).debug("%s was started, its root is %d", self._pid, os_pid)
        except Exception as error:
            report("log or telemetry raised", error)

    def failed(self, error: BaseException) -> None:
        """Reports that there is no tree."""
        if not self._open:
            return
        try:
            self._end_spawn(error)
            step = error.step if isinstance(error, SpawnError) else ""
            self._count("treeguard.trees.failed", {"treeguard.step": step})
            log_of("trees", self._pid).debug("%s was not started: %s", self._pid, error)
        except Exception as raised:
            report("log or telemetry raised", raised)

    def subtree_empty(self, root: RootExit | None, *, killed: bool) -> None:
        """Reports that nothing is left of the tree."""
        if not self._started:
            self.failed(ProcessEnded("the tree was ended while it was being started"))
        if self._over or not self._started:
            return
        self._over = True
        try:
            if self._telemetry.records:
                self._count("treeguard.trees.living", number=-1)
                self._count("treeguard.trees.ended", {"treeguard.killed": killed})
            log_of("trees", self._pid).debug("%s is empty; its root: %s; killed: %s", self._pid, root, killed)
        except Exception as error:
            report("log or telemetry raised", error)

    def _count(self, name: str, attributes: Attributes = MappingProxyType({}), number: int = 1) -> None:
        self._telemetry.count(name, {"treeguard.kind": self._kind, **attributes}, number)

    def _end_spawn(self, error: BaseException | None) -> None:
        self._open = False
        self._span.end(error)
