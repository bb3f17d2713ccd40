"""What was measured: as a table, as a picture, and as a file that ``pyperf compare_to`` takes."""

from __future__ import annotations

import html
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

import pyperf

from .samples import Result, Summary, summary

__all__ = ["picture", "publish", "ratios", "save", "table"]

_SECONDS = {"µs": 1e-6, "ms": 1e-3}
_UNITS = {"KiB": "byte", "/s": "integer"}


def ratios(results: Iterable[Result]) -> dict[tuple[str, str], float]:
    """By line and name: the median, as a multiple of the yardstick's on the same line."""
    medians = {(r.line, r.name): summary(r.values).median for r in results}
    return {
        (r.line, r.name): medians[r.line, r.name] / medians[r.line, r.yardstick]
        for r in results
        if medians.get((r.line, r.yardstick))
    }


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:,.1f}" if value >= 1 or value == 0 else f"{value:.2f}"


def _spread(s: Summary) -> str:
    return "" if s.low == s.high else f"{_number(s.low)} to {_number(s.high)}"


def table(results: list[Result]) -> str:
    """Markdown: median, the quartiles around it, and the ratio to the line's yardstick."""
    found = ratios(results)
    rows = ["| what | who | median | middle half | ratio |", "|---|---|---:|---:|---:|"]
    for line, group in groupby(results, key=lambda r: r.line):
        shown = line
        for r in group:
            s = summary(r.values)
            ratio = found.get((r.line, r.name))
            cells = [
                shown,
                r.name,
                f"{_number(s.median)} {r.unit}",
                _spread(s),
                "" if ratio is None else f"{ratio:.2f}",
            ]
            rows.append("| " + " | ".join(cells) + " |" + (f" {r.note}" if r.note else ""))
            shown = ""
    return "\n".join(rows)


def picture(results: list[Result], title: str) -> str:
    """A bar for each contender of one line, SVG: the median, and the middle half as a whisker."""
    bars = sorted(((r.name, summary(r.values)) for r in results), key=lambda bar: bar[1].median)
    longest = max(s.high for _, s in bars)
    left, width, step = 210, 460, 26
    height = 50 + step * len(bars)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 90} {height}" '
        'font-family="sans-serif" font-size="13">',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        f'<text x="10" y="24" font-size="15" fill="#222222">{html.escape(title)}</text>',
    ]
    for i, (name, s) in enumerate(bars):
        top = 40 + i * step
        end, low, high = (left + width * value / longest for value in (s.median, s.low, s.high))
        color = "#2b6cb0" if name in ("cgroup", "subreaper", "process_group") else "#a0aec0"
        middle = top + 9
        parts += [
            f'<text x="{left - 8}" y="{top + 14}" text-anchor="end" fill="#222222">{html.escape(name)}</text>',
            f'<rect x="{left}" y="{top}" width="{end - left:.1f}" height="18" fill="{color}"/>',
            f'<line x1="{low:.1f}" y1="{middle}" x2="{high:.1f}" y2="{middle}" stroke="#222222"/>',
            f'<text x="{max(end, high) + 6:.1f}" y="{top + 14}" fill="#222222">{_number(s.median)}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])


def publish(results: list[Result], first: list[Result], docs: Path, host: str, title: str) -> None:
    """Puts table and picture into the documentation, in place of those that are there."""
    page = docs / "performance.md"
    begin, end = "<!-- table -->\n", "<!-- /table -->"
    head, _, rest = page.read_text(encoding="utf-8").partition(begin)
    tail = rest.partition(end)[2]
    page.write_text(f"{head}{begin}{host}\n\n{table(results)}\n{end}{tail}", encoding="utf-8")
    (docs / "performance.svg").write_text(picture(first, title), encoding="utf-8")


def save(results: list[Result], path: Path) -> None:
    """Writes all samples, with what pyperf knows of this machine."""
    metadata = pyperf._collect_metadata.collect_metadata() if hasattr(pyperf, "_collect_metadata") else {}
    benchmarks = []
    for r in results:
        known = {"name": f"{r.line}: {r.name}", "unit": _UNITS.get(r.unit, "second"), **metadata}
        values = [value * _SECONDS.get(r.unit, 1) or 1e-12 for value in r.values]
        benchmarks.append(pyperf.Benchmark([pyperf.Run(values, metadata=known, collect_metadata=False)]))
    pyperf.BenchmarkSuite(benchmarks).dump(str(path), replace=True)
