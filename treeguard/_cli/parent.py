"""Watching for the end of the process that started ``treeguard run`` (``--die-with-parent``)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from .._core.launcher import has_foster_parent
from . import PARENT

__all__ = ["when_parent_ends"]

#: Seconds between two looks where the system has no pidfds.
_LOOK = 0.1


def when_parent_ends(ended: Callable[[], None]) -> None:
    """Calls ``ended`` once on the running loop when the parent has ended, even if it has already."""
    loop = asyncio.get_running_loop()

    def look() -> None:
        if os.getppid() == PARENT:
            loop.call_later(_LOOK, look)
        else:
            ended()

    def end() -> None:
        loop.remove_reader(fd)
        ended()

    try:
        fd = os.pidfd_open(PARENT)
    except (AttributeError, OSError):
        fd = -1
    # A parent that ended before the descriptor was opened is no longer ours, and its number may be another process's.
    if os.getppid() != PARENT or has_foster_parent(PARENT):
        ended()
    elif fd < 0:
        look()
    else:
        loop.add_reader(fd, end)
