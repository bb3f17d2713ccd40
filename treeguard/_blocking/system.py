"""What waits for events here, and what serves the pipes of a command meanwhile: each system has its own."""

from __future__ import annotations

import sys

if sys.platform == "win32":
    from .arguments_windows import params_of
    from .pipes_windows import Pipes
    from .popen_windows import INTERRUPT, StandardPopen
    from .pump_windows import Pump, PumpedSystem, Traffic
else:
    from signal import SIGINT as INTERRUPT

    from .arguments import params_of
    from .pipes import Pipes
    from .popen_posix import StandardPopen
    from .pump import Pump, Traffic
    from .searching import PumpedSystem

__all__ = [
    "INTERRUPT",
    "Pipes",
    "Pump",
    "PumpedSystem",
    "StandardPopen",
    "Traffic",
    "params_of",
]
