"""Output for people: with marks, with colour where that is wanted, and in ASCII where that is required."""

from __future__ import annotations

import os
import sys
from typing import TextIO

from .._core.escaping import printable

__all__ = ["Page", "Unwritable", "complain", "milliseconds", "say", "write"]

_PLAIN = str.maketrans({"✓": "+", "✗": "x", "·": "-", "├": "|", "└": "`", "─": "-", "│": "|", "…": "~"})
_COLOURS = {"green": "32", "red": "31", "bold": "1", "dim": "2"}


class Unwritable(Exception):
    """Standard output cannot be written: it is closed or full, or has no reader any more. The cause is an OSError."""


def write(text: str) -> None:
    """Writes text unchanged to standard output in UTF-8, for programs. Raises :class:`Unwritable`."""
    try:
        out = _output().buffer
        out.write(text.encode())
        out.flush()
    except OSError as error:
        raise Unwritable(str(error)) from error


def say(text: str) -> None:
    """Prints on standard output. Raises :class:`Unwritable`."""
    try:
        print(text, end="", file=_output(), flush=True)
    except OSError as error:
        raise Unwritable(str(error)) from error


def complain(text: str, end: str = "\n") -> None:
    """Prints a line on standard error. What a terminal would obey in it is escaped. Ignores a failure."""
    # print() would take None as standard output.
    if sys.stderr is None:
        return
    try:
        print(printable(text, len(text)), end=end, file=sys.stderr, flush=True)
    except OSError:
        # The interpreter would try again when it ends, and then exit with another status.
        sys.stderr = None


def _output() -> TextIO:
    """Standard output. Its descriptor may have been closed before this program began."""
    if sys.stdout is None:
        raise Unwritable("it is closed")
    return sys.stdout


def milliseconds(seconds: float) -> str:
    """A duration as text for people."""
    return f"{seconds * 1000:.1f} ms"


class Page:
    """Prints lines immediately, and never fails because of an encoding."""

    def __init__(self, out: TextIO | None = None) -> None:
        """Uses standard output if ``out`` is None. Raises :class:`Unwritable` if that is closed."""
        self._out = _output() if out is None else out
        self._encoding = self._out.encoding or "ascii"
        self._ascii = _locale_is_plain() or not _encodes(self._encoding)
        terminal = os.environ.get("TERM") or ("dumb" if os.name == "posix" else "")
        #: Whether it is a terminal, and one on which the cursor can be moved.
        self.is_terminal = self._out.isatty()
        self.obeys_controls = self.is_terminal and terminal != "dumb"
        self.has_colour = self.obeys_controls and "NO_COLOR" not in os.environ

    def paint(self, text: str, colour: str) -> str:
        """The text in a colour, or unchanged if colours are off."""
        return f"\033[{_COLOURS[colour]}m{text}\033[0m" if self.has_colour else text

    def mark(self, true: bool) -> str:
        """A check mark or a cross."""
        return self.paint("✓", "green") if true else self.paint("✗", "red")

    @property
    def is_ascii(self) -> bool:
        """Whether only ASCII can be shown, or is wanted."""
        return self._ascii

    def print(self, text: str = "", end: str = "\n") -> None:
        """Prints a line. Raises :class:`Unwritable`."""
        if self._ascii:
            text = text.translate(_PLAIN)
        try:
            text = text.encode(self._encoding, "backslashreplace").decode(self._encoding)
            print(text, end=end, file=self._out, flush=True)
        except OSError as error:
            raise Unwritable(str(error)) from error


def _encodes(encoding: str) -> bool:
    try:
        "".join(map(chr, _PLAIN)).encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _locale_is_plain() -> bool:
    # Python writes UTF-8 even in the C locale (PEP 540), but a user of that locale expects ASCII.
    env = os.environ
    return (env.get("LC_ALL") or env.get("LC_CTYPE") or env.get("LANG")) in ("C", "POSIX")
