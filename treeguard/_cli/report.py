"""The report about a command: how its tree ended, for programs (``--report`` and ``--status-fd``)."""

from __future__ import annotations

import contextlib
import datetime
import os
import stat
import time
from collections.abc import Sequence
from typing import Any

from .outcome import Outcome

__all__ = ["Reporter"]

#: How many of the processes that were left are told.
_TOLD = 100


class Reporter:
    """Reports about one command, if somebody wants it."""

    def __init__(self, command: Sequence[str], *, file: str | None = None, status_fd: int | None = None) -> None:
        """Opens where the reports go. Raises OSError with the name of the option as its ``filename``."""
        self._command = list(command)
        self._file = self._status = None
        #: Whether anybody wants a report.
        self.wanted = file is not None or status_fd is not None
        self._outcome: Outcome | None = None
        self._mechanism: str | None = None
        self._ready: bool | None = None
        if self.wanted:
            from .report_outputs import ReportFile, StatusDescriptor  # noqa: PLC0415 - most commands have no report

            self._file = None if file is None else ReportFile(file)
            self._status = None if status_fd is None else StatusDescriptor(status_fd)
        self._time = datetime.datetime.now(datetime.timezone.utc)
        self._began = time.monotonic()

    @property
    def outputs(self) -> tuple[str, ...]:
        """The pipes that the command writes to, by their identity."""
        from .._core.inspection.left import pipe_identity  # noqa: PLC0415 - most commands have no report

        pipes = []
        for fd in (1, 2):
            with contextlib.suppress(OSError):
                if stat.S_ISFIFO(os.fstat(fd).st_mode):
                    pipes.append(pipe_identity(fd))
        return tuple(pipes)

    def started(self, outcome: Outcome, mechanism: str) -> None:
        """The command runs."""
        self._outcome, self._mechanism = outcome, mechanism
        self._say("started", {"pid": outcome.group, "mechanism": mechanism})

    def listening(self) -> None:
        """The command can tell that it is ready."""
        self._ready = False

    def ready(self) -> None:
        """The command has told that it is ready."""
        if self._ready is False:
            self._ready = True
            self._say("ready", {})

    def ended(self, status: int, error: str | None = None, *, lost: bool = False) -> None:
        """Everything is over. ``status`` is the exit status of this process, ``error`` what it has complained of.

        ``lost``: the guard was killed, maybe before it had told of a start.
        """
        if self.wanted:
            report = self._report(status, error)
            if lost:
                report.update(ended="lost", killed=True)
            if self._file is not None:
                self._file.write(report)
            self._say("ended", report)

    def _say(self, event: str, facts: dict[str, Any]) -> None:
        if self._status is not None:
            self._status.write({"event": event, **facts})

    def _report(self, status: int, error: str | None) -> dict[str, Any]:
        outcome = self._outcome
        end = None if outcome is None else outcome.exit
        total = None if outcome is None else outcome.total
        return {
            "command": self._command,
            "mechanism": self._mechanism,
            "pid": None if outcome is None else outcome.group,
            "ended": _why(outcome),
            "exit": None if end is None else {"code": end.code, "signal": end.signal, "core_dumped": end.core_dumped},
            "killed": outcome is not None and outcome.killed,
            "left": []
            if outcome is None
            else [{"pid": each.pid, "name": each.name, "held_output": each.held_output} for each in outcome.left][
                :_TOLD
            ],
            "released": None if outcome is None else _released(outcome),
            "ready": self._ready,
            "started": self._time.isoformat(),
            "wall_time": round(time.monotonic() - self._began, 6),
            "root": None
            if end is None
            else {
                "user_time": end.usage.user_time,
                "system_time": end.usage.system_time,
                "max_rss": end.usage.max_rss,
            },
            "tree": None
            if total is None
            else {
                "user_time": total.user_time,
                "system_time": total.system_time,
                "max_rss": total.peak_memory,
            },
            "error": error,
            "status": status,
        }


def _why(outcome: Outcome | None) -> str:
    """Why a tree ended, in a word."""
    if outcome is None:
        return "not_started"
    if outcome.exit is not None and outcome.exit.oom_killed:
        return "memory"
    if outcome.released is not None:
        return "released"
    if outcome.asked is not None:
        return outcome.asked
    return "lost" if outcome.exit is None else "itself"


def _released(outcome: Outcome) -> dict[str, str] | None:
    """How the tree that lives on is named for ``treeguard kill``, and for ``take_over``."""
    token = outcome.released
    return None if token is None else {"id": f"{token.guard}.{token.started}", "token": str(token)}
