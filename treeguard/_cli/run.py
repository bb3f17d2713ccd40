"""``treeguard run``: runs a command, and leaves nothing of it behind."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import warnings

from ..errors import ContainmentUnavailable, ContainmentWarning, GuardLost, TreeguardError
from ..limits import Limits
from ..local import LocalProcessManager
from .dying import die_of
from .failure import OWN_FAILURE, failure
from .outcome import Outcome
from .output import complain
from .report import Reporter
from .run_options import configure, requested

if sys.platform == "win32":
    from .foreground_windows import in_foreground
else:
    from .foreground import in_foreground

__all__ = ["configure", "main"]

_TIMED_OUT = 124
_SIGNALLED = 128


def main(options: argparse.Namespace) -> int:
    """Runs the command and returns the exit status."""
    request = requested(options)
    _say_by_log_alone()
    try:
        reporter = Reporter(request.command, file=options.report, status_fd=getattr(options, "status_fd", None))
    except OSError as error:
        complain(f"treeguard run: {error.filename}: {error.strerror}")
        return OWN_FAILURE
    outcome, words, lost = None, None, False
    try:
        manager = LocalProcessManager(
            containment=options.containment, require=options.require, isolation=options.isolation
        )
        _check_memory(manager, request.given.get("limits"))
        if request.patience.release:
            _check_release(manager)
        outcome = in_foreground(manager, request, reporter)
        status = _status(outcome)
        if status is None:
            status, words = OWN_FAILURE, "it is not known how the command ended"
    except TreeguardError as error:
        status, words = failure(request, error)
        lost = isinstance(error, GuardLost)
    except Exception as error:
        reporter.ended(OWN_FAILURE, f"{type(error).__name__}: {error}")
        raise
    if outcome is not None and outcome.exit is not None and outcome.exit.oom_killed:
        complain("treeguard run: the tree needed more memory than its limit, and was killed")
    if words is not None:
        complain(f"treeguard run: {words}")
    reporter.ended(status, words, lost=lost)
    if outcome is not None and os.name == "posix":
        _die_as(outcome)
    return status


def _check_memory(manager: LocalProcessManager, limits: Limits | None) -> None:
    """Raises ContainmentUnavailable where a limit on the tree's memory would be one on each process's address space.

    That is another thing, which ends programs that only reserve memory.
    """
    if limits is not None and limits.memory is not None and manager.containment.memory_limit == "process":
        raise ContainmentUnavailable(
            f"limits: memory cannot be limited for the whole tree by containment {manager.containment.mechanism!r} "
            "here: that takes a cgroup with its controller (for each process there is the shell's 'ulimit -v')"
        )


def _check_release(manager: LocalProcessManager) -> None:
    """Raises ReleaseRefused where no tree can be released, before there is one."""
    from .._core.releasing import unreleasable  # noqa: PLC0415 - most commands release nothing
    from ..released import ReleaseRefused  # noqa: PLC0415

    reason = unreleasable(manager.containment.mechanism)
    if reason is not None:
        raise ReleaseRefused(f"the tree cannot be released: {reason}")


def _status(outcome: Outcome) -> int | None:
    """The exit status; None if nobody knows how the command ended."""
    if outcome.timed_out:
        return _TIMED_OUT
    end = outcome.exit
    if end is not None and end.code is not None:
        # An exit code of Windows has 32 bits, and is taken as a signed number.
        return end.code - (1 << 32) if end.code >= 1 << 31 else end.code
    return None if end is None or end.signal is None else _SIGNALLED + end.signal


def _die_as(outcome: Outcome) -> None:
    """Ends this process as the command has ended, if a signal has ended that. Returns otherwise."""
    end = outcome.exit
    if end is not None and end.signal is not None and not outcome.timed_out:
        die_of(end.signal, whole_group=outcome.in_terminal and end.signal == signal.SIGINT)


class _Complaints(logging.Handler):
    """Prints log records for people."""

    def emit(self, record: logging.LogRecord) -> None:
        """Prints the record, if standard error can be written."""
        complain(f"treeguard run: {record.getMessage()}")


def _say_by_log_alone() -> None:
    """Sends reports to standard error through the log only, in the form of our other messages and once each."""
    logging.getLogger("treeguard").addHandler(_Complaints())
    warnings.simplefilter("ignore", ContainmentWarning)
