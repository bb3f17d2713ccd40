"""Ends trees step by step: ask, wait for the acknowledgement, wait for the exit, then kill by force."""

from .driver import GracefulShutdownOutcome, graceful_shutdown_tree
from .ladder import (
    GENTLE,
    AskShutdown,
    CloseStdin,
    Kill,
    SendShutdown,
    ShutdownReport,
    ShutdownStep,
    ShutdownTreeRequest,
    ShutdownTreeResponse,
    StepReport,
    Terminate,
    Until,
)
from .together import LadderOf

__all__ = [
    "GENTLE",
    "AskShutdown",
    "CloseStdin",
    "GracefulShutdownOutcome",
    "Kill",
    "LadderOf",
    "SendShutdown",
    "ShutdownReport",
    "ShutdownStep",
    "ShutdownTreeRequest",
    "ShutdownTreeResponse",
    "StepReport",
    "Terminate",
    "Until",
    "graceful_shutdown_tree",
]
