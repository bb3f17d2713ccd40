"""The control connection, as the supervisor sees it."""

from .calls import Call, Handler
from .server import Attached, ControlServer, TokenRegister, Tracker

__all__ = ["Attached", "Call", "ControlServer", "Handler", "TokenRegister", "Tracker"]
