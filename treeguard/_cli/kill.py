"""``treeguard kill``: ends guarded trees of this user, whoever owns them."""

from __future__ import annotations

import argparse
import os
import re
import signal
from typing import TYPE_CHECKING

from .option_values import duration, signal_to_ask
from .output import complain
from .ps import unavailable

if TYPE_CHECKING:
    pass

__all__ = ["configure", "main"]

_ID = re.compile("[0-9]{1,10}([.][0-9]{1,20})?")
_NO_SUCH_TREE = 1
_OWN_FAILURE = 125

_DESCRIPTION = """\
Ends guarded trees: asks every process of a tree to end (SIGTERM), kills what is left after the grace, and returns when
the trees are empty. Their supervisors live on and see their trees end. Trees that have one of these as their parent end
with it. Linux only.
"""
_EPILOG = """\
exit status:
  0      the trees are empty
  1      there is no such tree, or it is another user's
  125    a tree could not be ended, or wrong usage
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``treeguard kill``."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = _DESCRIPTION
    parser.epilog = _EPILOG
    parser.add_argument(
        "--grace", type=duration, default=10.0, metavar="S", help="seconds that a tree has to end (default: 10)"
    )
    parser.add_argument("-f", "--force", action="store_true", help="kill at once, without asking")
    parser.add_argument(
        "-s",
        "--signal",
        type=signal_to_ask,
        default=signal.SIGTERM,
        metavar="SIG",
        help="the signal that asks, a name or a number (default: TERM)",
    )
    parser.add_argument(
        "ids",
        type=_id,
        nargs="+",
        metavar="ID",
        help="a tree, as 'treeguard ps' shows it: the process id of its guard, PID.START as in --json, or the process "
        "id of its root",
    )


def main(options: argparse.Namespace) -> int:
    """Ends the trees. Returns the exit status."""
    problem = unavailable()
    if problem is not None:
        return _failed(problem)
    from .felling import Felling, find  # noqa: PLC0415 - they can only be imported on Linux

    try:
        found, missing = find(options.ids)
    except OSError as error:
        return _failed(f"the processes of this system cannot be seen: {error.strerror}")
    for name in missing:
        complain(f"treeguard kill: {name}: no such tree")
    foreign = [guard for guard in found if os.geteuid() not in (0, guard.user)]
    for guard in foreign:
        complain(f"treeguard kill: {guard.pid}: the tree of another user")
    felling = Felling([guard for guard in found if guard not in foreign])
    if not options.force and options.grace > 0:
        felling.ask(options.signal, options.grace)
    left = felling.kill()
    for text in left:
        complain(f"treeguard kill: {text}")
    if left:
        return _OWN_FAILURE
    return _NO_SUCH_TREE if missing or foreign else 0


def _id(text: str) -> str:
    if not _ID.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no process id, and no PID.START")
    return text


def _failed(message: str) -> int:
    complain(f"treeguard kill: {message}")
    return _OWN_FAILURE
