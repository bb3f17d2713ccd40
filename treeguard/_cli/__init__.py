"""The command line: ``treeguard run``, ``ps``, ``kill``, ``doctor``, ``demo`` and ``completion``."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

__all__ = ["PARENT", "main"]

#: The process that started this one, looked up before the rest is loaded: it may end meanwhile.
PARENT = os.getppid()


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit status.

    Without ``argv`` it is this program: Ctrl-C while it is loaded ends it without a traceback.
    """
    if argv is None and os.getpid() == 1:
        from .init import hold_signals  # noqa: PLC0415 - for containers

        hold_signals()
    elif argv is None and os.name == "posix" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from .commands import main as command_line  # noqa: PLC0415 - this is what takes the time

    return command_line(argv)
