"""The words of the control connection, which both of its sides know. See docs/control.md."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from ..errors import CapabilityDenied, QuotaExceeded, RequestFailed, TreeguardError, capability_denied, quota_exceeded
from .jsonrpc import BUSY, INTERNAL_ERROR, ControlLimits, ErrorObject

__all__ = [
    "DENIED",
    "FD_VARIABLE",
    "HEARTBEAT",
    "HELLO",
    "NOT_ATTACHED",
    "REFUSED",
    "SHUTDOWN",
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
    "error_object",
    "is_name",
    "raised",
]

VERSION = 1

#: Tells a child the number of the descriptor that it inherited, or the path of the socket that it is expected at.
FD_VARIABLE = "TREEGUARD_CONTROL_FD"
SOCKET_VARIABLE = "TREEGUARD_CONTROL_SOCKET"

WELCOME = "welcome"
HELLO = "hello"
HEARTBEAT = "heartbeat"
SHUTDOWN = "process.shutdown"
SHUTDOWN_OWN_TREE = "process.shutdown_own_tree"
SHUTDOWN_TREE = "process.shutdown_tree"

#: Errors beside those of JSON-RPC 2.0.
DENIED = -32001
THROTTLED = -32002
NOT_ATTACHED = -32004
REFUSED = -32005

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(?:\.[A-Za-z_][A-Za-z0-9_-]*)+")
_LONGEST_NAME = 128


class Welcome(msgspec.Struct, frozen=True):
    """The first line on an inherited socket, a notification of the supervisor's."""

    token: str
    protocol: int = VERSION

    def __repr__(self) -> str:
        return "Welcome(token='…')"


class ClientInfo(msgspec.Struct, frozen=True):
    """What a child says of itself. For people; nothing depends on it."""

    name: str = ""
    version: str = ""


class Hello(msgspec.Struct, frozen=True):
    """A child's first request."""

    token: str
    client: ClientInfo = ClientInfo()
    protocol: int = VERSION

    def __repr__(self) -> str:
        return "Hello(token='…')"


class Granted(msgspec.Struct, frozen=True):
    """What a child is told when it has been attached.

    ``heartbeat_interval`` is in seconds, None if nobody listens for heartbeats. ``limits`` are the supervisor's.
    """

    process: str
    connection: str
    capabilities: dict[str, Any]
    heartbeat_interval: float | None = None
    limits: ControlLimits = ControlLimits()
    protocol: int = VERSION


def is_name(method: str) -> bool:
    """Whether this can be the name of a service and a method of it."""
    return len(method) <= _LONGEST_NAME and _NAME.fullmatch(method) is not None


def error_object(error: Exception) -> ErrorObject:
    """What the other side is told of an error. Of one that was not meant for it, that there was one."""
    if isinstance(error, RequestFailed):
        return ErrorObject(error.code, str(error.args[0]), error.data)
    if isinstance(error, QuotaExceeded):
        return ErrorObject(THROTTLED, error.strerror or "throttled", {"retry_after": error.retry_after})
    if isinstance(error, CapabilityDenied):
        return ErrorObject(DENIED, error.strerror or "denied")
    return ErrorObject(INTERNAL_ERROR, "internal error")


def raised(error: ErrorObject) -> TreeguardError:
    """The error to raise for one that the other side told."""
    if error.code in (THROTTLED, BUSY):
        after = error.data.get("retry_after") if isinstance(error.data, dict) else None
        return quota_exceeded(error.message, retry_after=after if isinstance(after, int | float) else None)
    if error.code in (DENIED, REFUSED):
        return capability_denied(error.message)
    return RequestFailed(error.message, error.code, error.data)
