"""The ends of a control connection: the interface, and its implementation for this system."""

from __future__ import annotations

import sys

from .abc import Line, Transport

# The system is checked here, so that the users of this package need not check it.
if sys.platform == "win32":
    from .pipes_windows import End, connected, inherited, line_on, transport_on
else:
    from .sockets import End, connected, inherited, line_on, transport_on

__all__ = ["End", "Line", "Transport", "connected", "inherited", "line_on", "transport_on"]
