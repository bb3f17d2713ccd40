"""The supervisor's side of the control connection."""

from .._wire.jsonrpc import ControlLimits
from .._wire.protocol import ClientInfo
from .calls import Call, Handler
from .server import Connection, ControlServer, TokenRegister, Tracker

__all__ = [
    "Call",
    "ClientInfo",
    "Connection",
    "ControlLimits",
    "ControlServer",
    "Handler",
    "TokenRegister",
    "Tracker",
]
