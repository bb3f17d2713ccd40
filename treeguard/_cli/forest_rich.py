"""The colours of ``treeguard ps`` where rich is installed (the extra ``rich``)."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterable
from typing import Any, cast

from rich.console import Console
from rich.text import Text

__all__ = ["coloured"]

_STYLES = {"head": "bold underline", "owner": "bold", "tree": "", "member": "dim"}
#: What is set apart in the line of a tree, in the order in which it stands there.
_NUMBER = re.compile(r"^([│├└─ |`-]*)([0-9]+) (\S.*?)(?=  |$)")
_WORDS = {
    r"  (cgroup|subreaper|pid_namespace)(?= |$)": "cyan",
    r"  (starting)(?= |$)": "yellow",
    r"  (released)(?= |$)": "magenta",
    r"  (ending)(?= |$)": "red",
}


def coloured(lines: Iterable[tuple[str, str]]) -> list[str]:
    """The lines with colours, as many as the terminal has. Nothing in them is taken as rich's markup."""
    system = Console(file=sys.stdout).color_system
    found = []
    for kind, line in lines:
        text = Text(line, style=_STYLES[kind], no_wrap=True, end="")
        if kind == "tree":
            _set_apart(text)
        out = io.StringIO()
        # As wide as it needs: it has been cut before.
        Console(
            file=out,
            force_terminal=True,
            color_system=cast("Any", system),
            width=10 * len(line) + 10,
            highlight=False,
            legacy_windows=False,
        ).print(text, end="", soft_wrap=True)
        found.append(out.getvalue())
    return found


def _set_apart(text: Text) -> None:
    match = _NUMBER.match(text.plain)
    if match is None:
        return
    text.stylize("bold", *match.span(2))
    text.stylize("green", *match.span(3))
    for pattern, style in _WORDS.items():
        for word in re.compile(pattern).finditer(text.plain, match.end()):
            text.stylize(style, *word.span(1))
