"""``treeguard run``: runs a command, and leaves nothing of it behind."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import warnings
from pathlib import Path

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
from .dying import die_of
from .outcome import Outcome
from .output import complain
from .patience import Patience
from .run_options import configure

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
