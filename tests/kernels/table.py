"""Verdicts, for people."""

from __future__ import annotations

from collections.abc import Sequence

from .verdict import Verdict

__all__ = ["table"]

_HEAD = ("machine", "kernel", "layout", "who", "auto", "passed", "failed", "skipped", "seconds", "")


def table(verdicts: Sequence[Verdict]) -> str:
    """A line a run; what is wrong with it at the end."""
    rows = [_HEAD, *(_row(verdict) for verdict in verdicts)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _row(verdict: Verdict) -> tuple[str, ...]:
    machine = verdict.machine
    counts = (verdict.passed, verdict.failed, verdict.skipped, round(verdict.seconds))
    said = "ok" if not verdict.problems else "; ".join(verdict.problems)
    return (machine.name, verdict.kernel, machine.layout, verdict.who, verdict.auto, *map(str, counts), said)
