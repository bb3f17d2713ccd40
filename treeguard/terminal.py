"""The terminal that trees share with this process.

A tree that is stopped because it needs the terminal gets it, if this process is in the foreground, and gives it back
when its root has ended. docs/subprocess.md describes it.
"""

from __future__ import annotations

import sys

from ._core.validation import flag

__all__ = ["set_lending"]


def set_lending(enabled: bool) -> bool:
    """Sets whether trees get the terminal of this process when they need it. Returns what was set before.

    It is on from the start. A program that does its own job control, such as a shell, turns it off, and calls
    ``os.tcsetpgrp`` for a tree whose :class:`~treeguard.types.TreeState` says that SIGTTIN or SIGTTOU has stopped it::

        treeguard.terminal.set_lending(False)

    It holds for the whole process, because a process has one controlling terminal, for trees that are stopped from now
    on. On Windows, where consoles are shared, there is nothing to lend: it returns False.
    """
    flag("enabled", enabled)
    if sys.platform == "win32":
        return False
    from ._core.lending import set_lending as set_  # noqa: PLC0415 - of POSIX

    return set_(enabled)
