"""The supervisor's side of the control connection."""

from .._wire.message_limits import ControlLimits
from .._wire.protocol import ClientInfo
from .calls import Call, Handler
from .server import Connection, ControlServer

__all__ = [
    "Call",
    "ClientInfo",
    "Connection",
    "ControlLimits",
    "ControlServer",
    "Handler",
]
