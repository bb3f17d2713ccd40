"""The log: the standard library's, with ids on every record.

Loggers are ``treeguard`` and those below it. A record's ``process_id`` and ``connection_id`` are the child and the
connection that it is about, as strings, or None: to format, to filter and to search by.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeAlias

from ..types import ConnectionId, ProcessId

__all__ = ["Log", "log_of"]

if TYPE_CHECKING:
    Log: TypeAlias = logging.LoggerAdapter[logging.Logger]
else:
    Log = logging.LoggerAdapter  # a generic only from Python 3.11 on


def log_of(part: str, pid: ProcessId | None = None, conn: ConnectionId | None = None) -> Log:
    """The log of a part of treeguard, about a child, a connection, or both."""
    ids = {
        "process_id": None if pid is None else str(pid),
        "connection_id": None if conn is None else str(conn),
    }
    return logging.LoggerAdapter(logging.getLogger(f"treeguard.{part}"), ids)
