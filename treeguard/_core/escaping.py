"""Texts of others, for people: in one line, with nothing in it that a terminal, or a reader of logs, would obey."""

from __future__ import annotations

__all__ = ["printable"]


def printable(text: str, longest: int = 1000) -> str:
    """The same text with everything escaped that is not printable: newlines, escapes, C1, what turns text around.

    What is longer than ``longest`` characters is cut off, and ends in an ellipsis.
    """
    cut = text if len(text) <= longest else f"{text[:longest]}…"
    return cut if cut.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in cut)
