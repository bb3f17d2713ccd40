"""The ends of a control connection: the seam, and what this system has behind it."""

from __future__ import annotations

import sys

from .abc import Line, Transport

# Here, in containment/system.py, processes/ and control/offer.py, and nowhere else above the C core, it is asked which
# system this is.
if sys.platform == "win32":
    from .pipes_windows import End, connected, inherited, line_on, transport_on
else:
    from .sockets import End, connected, inherited, line_on, transport_on

__all__ = ["End", "Line", "Transport", "connected", "inherited", "line_on", "transport_on"]
