"""Runs the suites of dumb-init, GNU timeout and tini on ``treeguard run``: ``python -m tests.peers [NAME…]``.

It ends with 0 if what fails is what ``differences.py`` lists.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from .differences import LISTED
from .sources import fetch
from .suites import SUITES

_PLACE = Path(__file__).parents[2] / "build" / "peers"


def examine(name: str) -> list[str]:
    """Runs a suite. Returns what is not as it is listed."""
    package, suite = SUITES[name]
    sources = fetch(package, _PLACE / "sources")
    work = _PLACE / name
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    results = suite(sources, work)
    failed = sorted(check for check, passed in results.items() if not passed)
    unlisted = [check for check in failed if not any(part in check for part in LISTED[name])]
    for part, reason in LISTED[name].items():
        print(f"differs: {part}: {reason}")
    print(f"{name}: {len(results)} checks, {len(failed)} failed, {len(unlisted)} of them unlisted", flush=True)
    # Those of dumb-init are left out.
    gone = [part for part in LISTED[name] if name != "dumb-init" and not any(part in check for check in failed)]
    problems = [*unlisted, *(f"{part} no longer fails" for part in gone), *([] if results else ["no check was made"])]
    return [f"{name}: {problem}" for problem in problems]


def main(names: list[str]) -> int:
    """The exit status."""
    if unknown := sorted(set(names) - set(SUITES)):
        print(f"there is no suite {', '.join(unknown)}, but {', '.join(SUITES)}", file=sys.stderr)
        return 2
    problems = [problem for name in names or SUITES for problem in examine(name)]
    print(*problems, sep="\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
