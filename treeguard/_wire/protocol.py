"""The messages of the control connection, for both of its sides. See docs/control.md."""

from __future__ import annotations

import itertools
import re
from typing import Any

import msgspec

from .._core.escaping import printable
from ..capability.bundle import CapabilitySet, lineage
from ..errors import CapabilityDenied, QuotaExceeded, RequestFailed, TreeguardError, capability_denied, quota_exceeded
from .jsonrpc import BUSY, INTERNAL_ERROR, ErrorObject
from .message_limits import ControlLimits, too_much

__all__ = [
    "DENIED",
    "FD_VARIABLE",
    "HEARTBEAT",
    "HELLO",
    "NOT_ATTACHED",
    "REFUSED",
    "SHUTDOWN",
    "SHUTDOWN_APPLICATION",
    "SHUTDOWN_OWN_TREE",
    "SHUTDOWN_TREE",
    "SOCKET_VARIABLE",
    "THROTTLED",
    "VERSION",
    "WELCOME",
    "ClientInfo",
    "Granted",
    "Hello",
    "Welcome",
    "cannot_carry",
    "error_object",
    "is_name",
    "raised",
]

VERSION = 1

#: The variables that give a child the number of its inherited descriptor, or the path of the socket to connect to.
FD_VARIABLE = "TREEGUARD_CONTROL_FD"
SOCKET_VARIABLE = "TREEGUARD_CONTROL_SOCKET"

WELCOME = "welcome"
HELLO = "hello"
HEARTBEAT = "heartbeat"
SHUTDOWN = "process.shutdown"
SHUTDOWN_OWN_TREE = "process.shutdown_own_tree"
SHUTDOWN_APPLICATION = "process.shutdown_application"
#: The earlier name of that method.
SHUTDOWN_TREE = "process.shutdown_tree"

#: Error codes in addition to those of JSON-RPC 2.0.
DENIED = -32001
THROTTLED = -32002
NOT_ATTACHED = -32004
REFUSED = -32005

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(?:\.[A-Za-z_][A-Za-z0-9_-]*)+")
_LONGEST_NAME = 128
#: The limits of a child that was written with this library.
_DEFAULT = ControlLimits()


class Welcome(msgspec.Struct, frozen=True):
    """The first line on an inherited socket: a notification from the supervisor."""

    token: str
    protocol: int = VERSION

    def __repr__(self) -> str:
        return "Welcome(token='…')"

    def __rich_repr__(self) -> list[tuple[str, str]]:
        return [("token", "…")]


class ClientInfo(msgspec.Struct, frozen=True):
    """How a child describes itself. The text is for people only; nothing depends on it."""

    name: str = ""
    version: str = ""


class Hello(msgspec.Struct, frozen=True):
    """A child's first request."""

    token: str
    client: ClientInfo = ClientInfo()
    protocol: int = VERSION

    def __repr__(self) -> str:
        return "Hello(token='…')"

    def __rich_repr__(self) -> list[tuple[str, str]]:
        return [("token", "…")]


class Granted(msgspec.Struct, frozen=True):
    """The supervisor's answer to a child that has been attached.

    ``heartbeat_interval`` is in seconds, or None if no heartbeats are expected. ``limits`` are the supervisor's.
    """

    process: str
    connection: str
    capabilities: dict[str, Any]
    heartbeat_interval: float | None = None
    limits: ControlLimits = ControlLimits()
    protocol: int = VERSION


def cannot_carry(granted: Granted, capabilities: CapabilitySet) -> str | None:
    """Returns why no answer to a hello could carry these capabilities to a child, or None if one can."""
    limits = granted.limits
    line, depth = min(limits.line, limits.output, _DEFAULT.line), _DEFAULT.depth
    # The count comes before anything that recurses into the set.
    if sum(1 for _ in itertools.islice(lineage(capabilities), depth)) == depth:
        return f"cannot be told to the child, attenuated so often: nested deeper than {depth}"
    try:
        whole = msgspec.structs.replace(granted, capabilities=msgspec.to_builtins(capabilities))
        answer = msgspec.json.encode({"jsonrpc": "2.0", "id": 1, "result": whole})
    except (TypeError, ValueError, RecursionError) as e:
        return f"cannot be told to the child: {printable(str(e))}"
    problem = too_much(answer, ControlLimits(line, depth))
    return None if problem is None else f"cannot be told to the child: {problem}"


def is_name(method: str) -> bool:
    """Returns whether this can be the name of a service and one of its methods."""
    return len(method) <= _LONGEST_NAME and _NAME.fullmatch(method) is not None


def error_object(error: Exception) -> ErrorObject:
    """Returns what the other side learns about an error. For internal errors, it only learns that there was one."""
    if isinstance(error, RequestFailed):
        return ErrorObject(error.code, str(error.args[0]), error.data)
    if isinstance(error, QuotaExceeded):
        return ErrorObject(THROTTLED, error.strerror or "throttled", {"retry_after": error.retry_after})
    if isinstance(error, CapabilityDenied):
        return ErrorObject(DENIED, error.strerror or "denied")
    return ErrorObject(INTERNAL_ERROR, "internal error")


def raised(error: ErrorObject) -> TreeguardError:
    """Returns the exception for an error from the other side. The text goes into logs and reports, so it is escaped."""
    words = printable(error.message)
    if error.code in (THROTTLED, BUSY):
        after = error.data.get("retry_after") if isinstance(error.data, dict) else None
        return quota_exceeded(words, retry_after=after if isinstance(after, int | float) else None)
    if error.code in (DENIED, REFUSED):
        return capability_denied(words)
    return RequestFailed(words, error.code, error.data)
