"""Everything, in one session: ``python -m benchmarks [--quick] [--only LINE…] [--save DIRECTORY]``."""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from . import commands, endings, lives, report, resting
from .build import Built, build
from .samples import Result
from .targets import verdicts

Line = Callable[[Built, bool], Awaitable[list[Result]]]

DOCS = Path(__file__).parent.parent / "docs"

LINES: dict[int, Line] = {
    1: lambda b, quick: lives.sequential(b, 6 if quick else 40),
    2: lambda b, quick: lives.concurrent(b, 3 if quick else 15),
    3: lambda b, quick: lives.start(b, 6 if quick else 40),
    4: lambda b, quick: lives.supervisors(b, 1 if quick else 5),
    5: lambda b, quick: lives.crowd(b, (1, 100, 1000) if quick else (1, 100, 1000, 5000), 100 if quick else 400),
    6: lambda b, quick: endings.at_once(b, 1000, 1 if quick else 3),
    7: lambda b, quick: endings.kills(b, (1, 10, 100, 1000), 3 if quick else 9),
    8: lambda b, quick: endings.orphaned(b, 3 if quick else 9),
    9: lambda b, _: resting.memory(b, 100),
    10: lambda _b, _: resting.beats(),
    11: lambda b, quick: resting.idle(b, 1000, 2 if quick else 10),
    12: lambda _b, quick: commands.run(4 if quick else 20),
    13: lambda _b, quick: commands.through_pipes((1 << 26) if quick else (1 << 30), 1 if quick else 5),
    14: lambda _b, quick: commands.lines_read(2 if quick else 10),
    15: lambda b, quick: commands.streaming(b.target, 1 if quick else 5),
}


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the samples")
    parser.add_argument("--only", type=int, nargs="+", choices=list(LINES), default=list(LINES), metavar="LINE")
    parser.add_argument("--save", type=Path, help="where samples, table and picture go")
    parser.add_argument("--publish", action="store_true", help="put table and picture into docs")
    parser.add_argument("--strict", action="store_true", help="fail where a bound is broken")
    return parser.parse_args()


async def measure(built: Built, numbers: list[int], quick: bool) -> list[Result]:
    """The lines, with their tables as they come."""
    results = []
    for number in numbers:
        begun = time.monotonic()
        found = await LINES[number](built, quick)
        results += found
        print(report.table(found), f"\n({time.monotonic() - begun:.0f} s)\n", flush=True)
    return results


def main() -> int:
    """Prints the tables and the bounds."""
    options = arguments()
    built = build()
    host = f"Python {platform.python_version()}, {platform.system()} {platform.release()}, {os.cpu_count()} processors."
    print(host)
    if built.peer is None:
        print(f"tokio is left out: {built.why}")
    results = asyncio.run(measure(built, options.only, options.quick))
    found = verdicts(results)
    for each in found:
        if each.found is not None:
            word = "kept  " if each.kept else "BROKEN"
            print(f"{word} {each.text}: {each.found:.2f}, at most {each.bound:g}")
    first = [r for r in results if r.line.startswith("1 ")]
    title = f"Whole life of a tiny program, one after another, µs (Python {platform.python_version()})"
    if options.save is not None:
        options.save.mkdir(parents=True, exist_ok=True)
        name = f"python-{sys.version_info.major}.{sys.version_info.minor}"
        report.save(results, options.save / f"{name}.json")
        (options.save / f"{name}.md").write_text(report.table(results) + "\n", encoding="utf-8")
        if first:
            (options.save / f"{name}.svg").write_text(report.picture(first, title), encoding="utf-8")
    if options.publish:
        report.publish(results, first, DOCS, host, title)
    return int(options.strict and not all(each.kept for each in found))


if __name__ == "__main__":
    sys.exit(main())
