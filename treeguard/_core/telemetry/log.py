"""The log: the standard library's, with ids on every record.

Loggers are ``treeguard`` and those below it. A record's ``process_id`` and ``connection_id`` name the child and the
connection that it is about, as strings, or are None. They serve for formatting, filtering and searching.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from typing import TYPE_CHECKING, TypeAlias

from ...types import ConnectionId, ProcessId

__all__ = ["Log", "log_of", "report"]

if TYPE_CHECKING:
    Log: TypeAlias = logging.LoggerAdapter[logging.Logger]
else:
    Log = logging.LoggerAdapter  # generic only since Python 3.11


def log_of(part: str, pid: ProcessId | None = None, conn: ConnectionId | None = None) -> Log:
    """The log of one part of treeguard, about a child, a connection, or both."""
    ids = {
        "process_id": None if pid is None else str(pid),
        "connection_id": None if conn is None else str(conn),
    }
    return logging.LoggerAdapter(logging.getLogger(f"treeguard.{part}"), ids)


def report(words: str, error: Exception) -> None:
    """Reports an error of code that only observes or must not fail, where errors of a loop's callbacks are reported."""
    with contextlib.suppress(Exception):
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            sys.excepthook(type(error), error, error.__traceback__)
        else:
            loop.call_exception_handler({"message": words, "exception": error})
