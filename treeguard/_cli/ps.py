"""``treeguard ps``: the guarded trees of this system, as a tree."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from .option_values import duration
from .output import Page, complain, write

if TYPE_CHECKING:
    from .forest import Forest

__all__ = ["configure", "main", "unavailable"]

_OWN_FAILURE = 125
_INTERVAL = 2.0
#: To the upper left, and everything from here on erased. Nothing that would have to be restored.
_HOME, _ERASE_LINE, _ERASE_BELOW = "\033[H", "\033[K", "\033[J"
_STYLES = {"head": "bold", "owner": "bold", "tree": "green", "member": "dim"}

_DESCRIPTION = """\
Shows the trees that have a guard: which supervisor owns them, of what kind they are, since when they run, by which
mechanism they are kept together, and how many members, how much memory and CPU time they have. ID is the number in
front of a tree's kind; 'treeguard kill ID' ends that tree.

Shown are the trees of this user, and for root those of all users. Trees without a guard cannot be shown: those of the
mechanism process_group. Linux only.
"""
_EPILOG = """\
exit status:
  0      also if there is no tree
  125    the trees of this system cannot be seen, or wrong usage
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``treeguard ps``."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = _DESCRIPTION
    parser.epilog = _EPILOG
    parser.add_argument("-a", "--all", action="store_true", help="the trees of all users, as far as they can be seen")
    parser.add_argument("-m", "--members", action="store_true", help="show each member, too")
    parser.add_argument("--json", action="store_true", help="print one JSON document; with --watch one in each line")
    parser.add_argument(
        "-w",
        "--watch",
        type=duration,
        nargs="?",
        const=_INTERVAL,
        metavar="S",
        help="show it again every S seconds, until Ctrl-C (default: 2)",
    )


def main(options: argparse.Namespace) -> int:
    """Shows the trees. Returns the exit status."""
    problem = unavailable()
    if problem is not None:
        complain(f"treeguard ps: {problem}")
        return _OWN_FAILURE
    from .forest import look  # noqa: PLC0415 - it can only be imported on Linux

    users = None if options.all or os.geteuid() == 0 else {os.geteuid()}
    page = Page()
    while True:
        try:
            forest = look(users)
        except OSError as error:
            complain(f"treeguard ps: the processes of this system cannot be seen: {error.strerror}")
            return _OWN_FAILURE
        if options.json:
            text = msgspec.json.encode(forest)
            write((text if options.watch is not None else msgspec.json.format(text, indent=2)).decode() + "\n")
        else:
            _show(page, forest, members=options.members, again=options.watch is not None)
        if options.watch is None:
            return 0
        time.sleep(max(options.watch, 0.1))


def unavailable() -> str | None:
    """Why this system does not show guarded trees; None if it does."""
    if sys.platform == "linux":
        return None
    if sys.platform == "win32":
        return "on Windows a job belongs to its supervisor alone and has no name, so that nobody else can see it"
    return "guarded trees can be seen on Linux only, where each process shows in /proc"


def _show(page: Page, forest: Forest, *, members: bool, again: bool) -> None:
    from .forest_table import columns_for, rows_of, text_lines  # noqa: PLC0415 - Linux only

    rows, columns = rows_of(forest, members=members), columns_for(forest)
    size = shutil.get_terminal_size()
    given = os.environ.get("COLUMNS", "")
    width = size.columns if page.is_terminal or (given.isdigit() and int(given) > 0) else None
    redrawn = again and page.obeys_controls
    if not forest.trees:
        lines = ["no guarded trees"]
    else:
        text = list(text_lines(rows, columns, width))
        lines = (_with_rich(text) if page.has_colour and not page.is_ascii else None) or [
            page.paint(line, _STYLES[kind]) for kind, line in text
        ]
    if again and not redrawn:
        lines = [*lines, ""]
    if redrawn:
        if len(lines) >= size.lines > 2:
            lines = [*lines[: size.lines - 2], f"… and {len(lines) - size.lines + 2} more lines"]
        lines[0] = _HOME + lines[0]
    for i, line in enumerate(lines):
        erase = (_ERASE_LINE if i < len(lines) - 1 else _ERASE_BELOW) if redrawn else ""
        page.print(line, end=f"{erase}\n")


def _with_rich(lines: Sequence[tuple[str, str]]) -> list[str] | None:
    """The lines with rich's colours; None: rich is not installed."""
    try:
        from .forest_rich import coloured  # noqa: PLC0415 - rich is an extra
    except ImportError:
        return None
    return coloured(lines)
