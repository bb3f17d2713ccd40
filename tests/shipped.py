"""The files for shells and manuals that a wheel carries: ``python -m tests.shipped`` makes them from the parser."""

from __future__ import annotations

import sys
from pathlib import Path

from treeguard._cli.commands import full_parser
from treeguard._cli.completion import SHELLS, script_for

from .manual import pages

__all__ = ["ROOT", "shipped"]

ROOT = Path(__file__).parent.parent


def shipped() -> dict[str, str]:
    """What each file has to contain, by its place below the root of the sources, which is that below a prefix."""
    found = {place: script_for(shell) for shell, place in SHELLS.items()}
    return found | {f"share/man/man1/{name}": text for name, text in pages(full_parser()).items()}


def main() -> int:
    """Writes them."""
    for place, text in shipped().items():
        path = ROOT / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
