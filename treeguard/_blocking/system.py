"""What waits for events here, and what serves the pipes of a command meanwhile: each system has its own."""

from __future__ import annotations

from .pipes import Pipes
from .pump import Pump, Traffic

__all__ = ["Pipes", "Pump", "Traffic"]
