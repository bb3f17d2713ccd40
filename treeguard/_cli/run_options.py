"""The options of ``treeguard run``, in the groups that ``--help`` shows."""

from __future__ import annotations

import argparse
import os
import signal
from typing import get_args

from .._core.containment.guarantees import GUARANTEES, MECHANISMS
from ..params import Isolation
from .option_values import duration, guarantees, signal_to_ask

__all__ = ["configure"]

_DESCRIPTION = """\
Runs COMMAND, and ends whatever it leaves behind: daemons, orphans, all of it.
It is a stand-in for COMMAND: standard streams, further descriptors, ignored
signals, the terminal and the signals sent to it are handed on. When it is
killed itself, the whole tree ends.
"""
_EPILOG = """\
exit status:
  that of COMMAND, or
  124    COMMAND timed out
  125    treeguard failed, or was used wrongly
  126    COMMAND cannot be executed
  127    COMMAND was not found

When a signal ended COMMAND, treeguard run dies of the same signal, which
shells show as 128+N. Ignored signals stay ignored in COMMAND.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``treeguard run``."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.usage = "treeguard run [OPTION...] [--] COMMAND..."
    parser.description = _DESCRIPTION
    parser.epilog = _EPILOG
    parser.add_argument(
        "command", nargs=argparse.REMAINDER, metavar="COMMAND", help="the command and its arguments; options end here"
    )
    _configure_ending(parser.add_argument_group("how it ends"))
    _configure_containment(parser.add_argument_group("containment"))
    parser.set_defaults(usage_error=parser.error)


def _configure_ending(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--timeout", type=duration, metavar="S", help="end the tree after S seconds: SIGTERM, the grace, SIGKILL"
    )
    group.add_argument(
        "--grace",
        type=duration,
        default=10.0,
        metavar="S",
        help="seconds that the tree has to end after SIGINT, SIGTERM, SIGHUP or the timeout, whether COMMAND itself is "
        "still there or not (default: 10). A second SIGINT or SIGTERM ends it now",
    )
    group.add_argument(
        "--linger",
        type=duration,
        default=0.5,
        metavar="S",
        help="seconds that the rest of the tree has to end after COMMAND has ended by itself: it is asked first, and a "
        "process that reads a pipe later, so that it can read to the end (default: 0.5; 0 kills it at once)",
    )
    group.add_argument(
        "--signal",
        type=signal_to_ask,
        default=signal.SIGTERM,
        metavar="SIG",
        help="the signal that asks the tree to end, in the place of SIGTERM: a name or a number (default: TERM)",
    )
    if os.name == "posix":
        group.add_argument(
            "--die-with-parent",
            action="store_true",
            help="when the process that started treeguard run has ended, even by SIGKILL, the tree is asked to end, "
            "and killed after the grace",
        )


def _configure_containment(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--containment",
        choices=("auto", *MECHANISMS),
        default="auto",
        metavar="M",
        help="what keeps the tree together (default: auto): " + ", ".join(MECHANISMS),
    )
    group.add_argument(
        "--require",
        type=guarantees,
        default=(),
        metavar="G",
        help="fail unless the mechanism guarantees these, a list with commas of: " + ", ".join(GUARANTEES),
    )
    group.add_argument(
        "--isolation",
        choices=get_args(Isolation),
        default="none",
        metavar="I",
        help="signals: COMMAND can signal and trace only what it started, and cannot gain privileges; none: it is not "
        "restricted (default: none)",
    )
