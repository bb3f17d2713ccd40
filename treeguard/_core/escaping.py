"""Making untrusted text safe to show: one line, with nothing that a terminal or a log reader would interpret."""

from __future__ import annotations

__all__ = ["printable"]


def printable(text: str, longest: int = 1000) -> str:
    """The text with every unprintable character escaped: newlines, escape codes, C1, and bidirectional controls.

    A text of more than ``longest`` characters is cut off and ends in an ellipsis.
    """
    cut = text if len(text) <= longest else f"{text[:longest]}…"
    return cut if cut.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in cut)
