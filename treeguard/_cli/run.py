"""``treeguard run``: runs a command, and leaves nothing of it behind."""

from __future__ import annotations

import argparse
import contextlib
import logging
import math
import os
import re
import signal
import sys
import warnings
from pathlib import Path
from typing import get_args

from .._core.containment.guarantees import GUARANTEES, MECHANISMS
from .._core.validation import signal_number
from ..errors import (
    BrokenInstall,
    ContainmentWarning,
    EmptyProgram,
    ProgramNotExecutable,
    ProgramNotFound,
    SpawnError,
    TreeguardError,
)
from ..local import LocalProcessManager
from ..params import Isolation
from .dying import die_of
from .outcome import Outcome
from .output import complain
from .patience import Patience

if sys.platform == "win32":
    from .foreground_windows import in_foreground
else:
    from .foreground import in_foreground

__all__ = ["configure", "main"]

_TIMED_OUT = 124
_OWN_FAILURE = 125
_NOT_EXECUTABLE = 126
_NOT_FOUND = 127
_SIGNALLED = 128
#: Without a sign, so that no number is less than 0, not even one that is rounded to it.
_NUMBER = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")

_DESCRIPTION = """\
Runs COMMAND, and ends whatever it leaves behind: daemons, orphans, all of it. It is a stand-in for COMMAND: standard
streams, further descriptors, ignored signals, the terminal and the signals sent to it are handed on. When it is killed
itself, the whole tree ends.
"""
_EPILOG = """\
exit status:
  that of COMMAND, or
  124    COMMAND timed out
  125    treeguard failed, or was used wrongly
  126    COMMAND cannot be executed
  127    COMMAND was not found

When a signal ended COMMAND, treeguard run dies of the same signal, which shells show as 128+N. Ignored signals stay
ignored in COMMAND.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``treeguard run``."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.usage = (
        "treeguard run [--timeout S] [--grace S] [--linger S] [--signal SIG] [--die-with-parent] [--containment M] "
        "[--require G] [--isolation I] [--] COMMAND..."
    )
    parser.description = _DESCRIPTION
    parser.epilog = _EPILOG
    _configure_ending(parser)
    parser.add_argument(
        "--containment",
        choices=("auto", *MECHANISMS),
        default="auto",
        metavar="M",
        help="what keeps the tree together (default: auto): " + ", ".join(MECHANISMS),
    )
    parser.add_argument(
        "--require",
        type=_guarantees,
        default=(),
        metavar="G",
        help="fail unless the mechanism guarantees these, a list with commas of: " + ", ".join(GUARANTEES),
    )
    parser.add_argument(
        "--isolation",
        choices=get_args(Isolation),
        default="none",
        metavar="I",
        help="signals: COMMAND can signal and trace only what it started, and cannot gain privileges; none: it is not "
        "restricted (default: none)",
    )
    parser.add_argument(
        "command", nargs=argparse.REMAINDER, metavar="COMMAND", help="the command and its arguments; options end here"
    )
    parser.set_defaults(usage_error=parser.error)


def _configure_ending(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--timeout", type=_duration, metavar="S", help="end the tree after S seconds: SIGTERM, the grace, SIGKILL"
    )
    parser.add_argument(
        "--grace",
        type=_duration,
        default=10.0,
        metavar="S",
        help="seconds that the tree has to end after SIGINT, SIGTERM, SIGHUP or the timeout, whether COMMAND itself is "
        "still there or not (default: 10). A second SIGINT or SIGTERM ends it now",
    )
    parser.add_argument(
        "--linger",
        type=_duration,
        default=0.5,
        metavar="S",
        help="seconds that the rest of the tree has to end after COMMAND has ended by itself: it is asked first, and a "
        "process that reads a pipe later, so that it can read to the end (default: 0.5; 0 kills it at once)",
    )
    parser.add_argument(
        "--signal",
        type=_signal,
        default=signal.SIGTERM,
        metavar="SIG",
        help="the signal that asks the tree to end, in the place of SIGTERM: a name or a number (default: TERM)",
    )
    if os.name == "posix":
        parser.add_argument(
            "--die-with-parent",
            action="store_true",
            help="when the process that started treeguard run has ended, even by SIGKILL, the tree is asked to end, "
            "and killed after the grace",
        )


def main(options: argparse.Namespace) -> int:
    """Runs the command and returns the exit status."""
    # argparse.REMAINDER keeps the "--".
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        options.usage_error("COMMAND is missing")
    _say_by_log_alone()
    try:
        manager = LocalProcessManager(
            containment=options.containment, require=options.require, isolation=options.isolation
        )
        with_parent = getattr(options, "die_with_parent", False)
        patience = Patience(options.timeout, options.grace, options.linger, options.signal, with_parent)
        outcome = in_foreground(manager, command, patience)
    except BrokenInstall as error:
        return _failed(f"{error.strerror}: {error.filename}", _OWN_FAILURE)
    except SpawnError as error:
        return _failed(_told(command[0], error), _status_of_failure(error))
    except TreeguardError as error:
        return _failed(str(error), _OWN_FAILURE)
    return _status(outcome)


def _status(outcome: Outcome) -> int:
    if outcome.timed_out:
        return _TIMED_OUT
    end = outcome.exit
    if end is not None and end.code is not None:
        # An exit code of Windows has 32 bits, and is taken as a signed number.
        return end.code - (1 << 32) if end.code >= 1 << 31 else end.code
    if end is not None and end.signal is not None:
        if os.name == "posix":
            die_of(end.signal, whole_group=outcome.in_terminal and end.signal == signal.SIGINT)
        return _SIGNALLED + end.signal
    return _failed("it is not known how the command ended", _OWN_FAILURE)


def _told(program: str, error: SpawnError) -> str:
    """Why the command was not started, said once."""
    if isinstance(error, EmptyProgram):
        return "COMMAND must not be empty"
    if isinstance(error, ProgramNotFound) and error.step == "search":
        return f"{program}: not found in PATH"
    if isinstance(error, ProgramNotFound) and Path(program).is_file():
        return f"{program}: the interpreter that its first line names was not found"
    if isinstance(error, ProgramNotFound):
        return f"{program}: not found"
    if isinstance(error, ProgramNotExecutable):
        return f"{program}: cannot be executed: {os.strerror(error.errno or 0)}"
    return f"{program}: {error.strerror}"


def _status_of_failure(error: SpawnError) -> int:
    if isinstance(error, ProgramNotFound | EmptyProgram):
        return _NOT_FOUND
    return _NOT_EXECUTABLE if error.step in {"search", "exec"} else _OWN_FAILURE


def _failed(message: str, status: int) -> int:
    complain(f"treeguard run: {message}")
    return status


class _Complaints(logging.Handler):
    """Prints log records for people."""

    def emit(self, record: logging.LogRecord) -> None:
        """Prints the record, if standard error can be written."""
        complain(f"treeguard run: {record.getMessage()}")


def _say_by_log_alone() -> None:
    """Sends reports to standard error through the log only, in the form of our other messages and once each."""
    logging.getLogger("treeguard").addHandler(_Complaints())
    warnings.simplefilter("ignore", ContainmentWarning)


def _guarantees(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    unknown = [name for name in names if name not in GUARANTEES]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is no guarantee (choose from {', '.join(GUARANTEES)})")
    return names


def _signal(text: str) -> int:
    name = text.upper()
    number: int | None = signal.Signals.__members__.get(name if name.startswith("SIG") else f"SIG{name}")
    with contextlib.suppress(ValueError):
        number = number or signal_number("signal", int(text if re.fullmatch("[0-9]+", text) else ""))
    if number is None:
        raise argparse.ArgumentTypeError(f"{text!r} is neither the name nor the number of a signal")
    if sys.platform == "win32" and number != signal.SIGTERM:
        raise argparse.ArgumentTypeError("on Windows there is only TERM, which becomes CTRL_BREAK")
    return int(number)


def _duration(text: str) -> float:
    seconds = float(text) if _NUMBER.fullmatch(text) else math.inf
    if seconds == math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds, 0 or more")
    return seconds
