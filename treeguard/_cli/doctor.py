"""``treeguard doctor``: what this host provides, proved by trying."""

from __future__ import annotations

import argparse
import importlib.metadata
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from .._core.containment.guarantees import MECHANISMS, Containment, has_guard
from ..errors import ContainmentUnavailable, SpawnError
from ..local import LocalProcessManager
from ..types import Mechanism
from . import marked_processes
from .experiments import EXPERIMENTS, NO_GUARD, Experiment, claimed, examine, mismatches, proved, untried
from .output import Page, complain, milliseconds, write

if sys.platform == "win32":
    from .host_windows import Host, facts, inspect
else:
    from .host import Host, facts, inspect

__all__ = ["Examination", "Report", "configure", "main"]

#: Between two columns of the table, in characters.
_GAP = 2


class Examination(msgspec.Struct, frozen=True):
    """The examination of a mechanism: why it is unavailable, or what it claims and what was seen.

    ``isolates``: whether trees can be isolated with it. ``exposed``: why not, if the mechanism is available.
    """

    mechanism: Mechanism
    available: bool
    reason: str | None = None
    claimed: Containment | None = None
    proved: dict[str, bool] = {}
    experiments: tuple[Experiment, ...] = ()
    mismatches: tuple[str, ...] = ()
    isolates: bool = False
    exposed: str | None = None


class Report(msgspec.Struct, frozen=True):
    """All findings. ``auto``: the mechanism that ``"auto"`` picks, None if there is none."""

    treeguard: str
    healthy: bool
    auto: Mechanism | None
    mechanisms: tuple[Examination, ...]
    host: Host
    seconds: float


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``treeguard doctor``."""
    parser.description = (
        "Tries out what treeguard can guarantee on this host. "
        "Exits with 1 if no mechanism works, or if one does not keep what it claims."
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def main(options: argparse.Namespace) -> int:
    """Examines the host and prints the report. Returns 0 if a mechanism works and all of them keep their claims."""
    report = _report()
    if options.json:
        write(msgspec.json.format(msgspec.json.encode(report), indent=2).decode() + "\n")
    else:
        _print(Page(), report)
    return 0 if report.healthy else 1


def _announced(mechanisms: Iterable[Mechanism]) -> Iterator[Mechanism]:
    """The mechanisms, each named on the terminal while it is examined. In a broken environment that takes long."""
    shown = sys.stderr is not None and sys.stderr.isatty()
    for mechanism in mechanisms:
        if shown:
            complain(f"trying {mechanism} … ", end="\r")
        yield mechanism
    if shown:
        complain(" " * 40, end="\r")


def _report() -> Report:
    begun = time.perf_counter()
    mechanisms = tuple(_examination(mechanism) for mechanism in _announced(MECHANISMS))
    works = any(each.available for each in mechanisms)
    return Report(
        treeguard=_version(),
        healthy=works and not any(each.mismatches for each in mechanisms),
        auto=_auto(mechanisms),
        mechanisms=mechanisms,
        host=inspect(),
        seconds=time.perf_counter() - begun,
    )


def _auto(mechanisms: Sequence[Examination]) -> Mechanism | None:
    """The first mechanism that works, unless one before it should work and is broken. One is never picked."""
    for each in mechanisms:
        if each.mechanism == "pid_namespace":
            continue
        if each.available or each.mismatches:
            return each.mechanism if each.available else None
    return None


def _version() -> str:
    try:
        return importlib.metadata.version("treeguard")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _examination(mechanism: Mechanism) -> Examination:
    try:
        containment = LocalProcessManager(containment=mechanism).containment
    except ContainmentUnavailable as e:
        # The message begins with the requested mechanism, which the report already shows.
        return Examination(mechanism, False, str(e).partition(": ")[2] or str(e))
    except SpawnError as e:
        # A broken installation or a shortage says nothing about the host, and must not lead to another mechanism.
        problem = f"{e.strerror}: {e.filename}" if e.filename else str(e.strerror)
        return Examination(mechanism, False, problem, mismatches=(problem,))
    blind = marked_processes.blindness()
    experiments = examine(containment) if blind is None else untried(blind)
    exposed = _exposed(mechanism)
    return Examination(
        mechanism,
        True,
        claimed=containment,
        proved=proved(experiments),
        experiments=experiments,
        mismatches=mismatches(containment, experiments),
        isolates=exposed is None,
        exposed=exposed,
    )


def _exposed(mechanism: Mechanism) -> str | None:
    try:
        LocalProcessManager(containment=mechanism, isolation="signals").containment  # noqa: B018 - runs the trial
    except ContainmentUnavailable as e:
        return str(e).partition(": ")[2] or str(e)
    except SpawnError as e:
        return str(e.strerror)
    return None


def _print(page: Page, report: Report) -> None:
    here = report.host
    page.print(f"treeguard {report.treeguard} · {here.system} {here.kernel} {here.machine} · {here.python}")
    page.print()
    _print_table(page, report.mechanisms)
    page.print()
    for name, text in facts(here):
        page.print(f"{name:<14} {text}")
    page.print()
    for each in report.mechanisms:
        for mismatch in each.mismatches:
            page.print(f"{page.mark(False)} {each.mechanism}: {mismatch}")
    page.print(f"{page.mark(report.healthy)} {_verdict(report)} ({report.seconds:.1f} s)")


def _verdict(report: Report) -> str:
    there = [each for each in report.mechanisms if each.available]
    if report.auto is None:
        return "auto picks no mechanism here" if there else "no mechanism works here"
    if report.healthy:
        claims = "every claim matches what was seen"
    elif any(each.proved for each in there):
        claims = "not every claim matches what was seen"
    else:
        claims = "its claims could not be tried"
    return f"auto picks {report.auto}; {claims}"


class _Cell(NamedTuple):
    """One cell of the table: its text, behind a check mark or a cross unless ``good`` is None."""

    text: str
    good: bool | None = None

    @property
    def width(self) -> int:
        """How many characters it takes."""
        return len(self.text) + (0 if self.good is None else 2)

    def shown(self, page: Page, width: int) -> str:
        """The text in a column of that width."""
        # The mark may contain colour codes, which take no room on the page, but would in a format's width.
        mark = "" if self.good is None else f"{page.mark(self.good)} "
        return mark + self.text + " " * (width - self.width)


def _print_table(page: Page, mechanisms: Sequence[Examination]) -> None:
    """Prints a row per experiment and limit, a column per available mechanism, and why the others are missing."""
    there = [each for each in mechanisms if each.available]
    if there:
        head, *rows = _rows(there)
        labels, *columns = zip(head, *rows, strict=True)
        widths = [max(cell.width for cell in column) + _GAP for column in (labels, *columns)]
        for i, row in enumerate((head, *rows)):
            line = "".join(cell.shown(page, width) for cell, width in zip(row, widths, strict=True)).rstrip()
            page.print(line if i else page.paint(line, "bold"))
    if not any(each.isolates for each in there):
        # The reason of a mechanism without a guard is only that it has none.
        for reason in dict.fromkeys(each.exposed for each in there if each.claimed and has_guard(each.claimed)):
            page.print(f"no isolation: {reason}")
    for each in mechanisms:
        if not each.available:
            page.print(f"no {each.mechanism}: {each.reason}")


def _rows(there: Sequence[Examination]) -> Iterator[tuple[_Cell, ...]]:
    """The head of the table, and its rows."""
    yield _Cell("was it ended?"), *(_Cell(each.mechanism) for each in there)
    for i, name in enumerate(EXPERIMENTS):
        yield _Cell(f"  {name}"), *(_cell(each, each.experiments[i]) for each in there)
    for limit in ("memory", "process", "cpu"):
        scopes = (getattr(each.claimed, f"{limit}_limit") for each in there)
        yield _Cell(f"  {limit} limit"), *(_Cell(f"for each {scope}" if scope else "no") for scope in scopes)
    yield _Cell("  isolation"), *(_Cell("signals" if each.isolates else "no") for each in there)


def _cell(examination: Examination, experiment: Experiment) -> _Cell:
    if experiment.ended is None or examination.claimed is None:
        return _Cell(f"- {NO_GUARD if experiment.problem == NO_GUARD else 'not tried'}")
    if experiment.ended:
        return _Cell(milliseconds(experiment.seconds or 0.0), good=True)
    expected = "" if claimed(examination.claimed, experiment.name) else ", as claimed"
    return _Cell(f"{len(experiment.left)} left{expected}", good=False)
