"""What is printed for people: with marks, with colour where that is wanted, in ASCII where it must be."""

from __future__ import annotations

import os
import sys
from typing import TextIO

__all__ = ["Page", "milliseconds"]

_PLAIN = str.maketrans({"✓": "+", "✗": "x", "·": "-", "├": "|", "└": "`", "─": "-"})
_COLOURS = {"green": "32", "red": "31", "bold": "1", "dim": "2"}


def milliseconds(seconds: float) -> str:
    """A duration for people."""
    return f"{seconds * 1000:.1f} ms"


class Page:
    """Prints lines at once, and never fails for an encoding."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = sys.stdout if out is None else out
        self._encoding = self._out.encoding or "ascii"
        self._ascii = _locale_is_plain() or not _encodes(self._encoding)
        self._colour = self._out.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"

    def paint(self, text: str, colour: str) -> str:
        """The text in a colour, or as it is."""
        return f"\033[{_COLOURS[colour]}m{text}\033[0m" if self._colour else text

    def mark(self, true: bool) -> str:
        """A check mark or a cross."""
        return self.paint("✓", "green") if true else self.paint("✗", "red")

    def print(self, text: str = "") -> None:
        """Prints a line."""
        if self._ascii:
            text = text.translate(_PLAIN)
        print(text.encode(self._encoding, "backslashreplace").decode(self._encoding), file=self._out, flush=True)


def _encodes(encoding: str) -> bool:
    try:
        "".join(map(chr, _PLAIN)).encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _locale_is_plain() -> bool:
    # In the C locale Python writes UTF-8 all the same (PEP 540); who sets that locale expects ASCII.
    env = os.environ
    return (env.get("LC_ALL") or env.get("LC_CTYPE") or env.get("LANG")) in ("C", "POSIX")
