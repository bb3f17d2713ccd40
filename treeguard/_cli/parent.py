"""Watching for the end of the process that started ``treeguard run`` (``--die-with-parent``)."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable

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
    if os.getppid() != PARENT or _is_foster():
        ended()
    elif fd < 0:
        look()
    else:
        loop.add_reader(fd, end)


def _is_foster() -> bool:
    """Whether the parent has adopted this process, since a child has its parent's session, or one of its own."""
    with contextlib.suppress(OSError):
        return os.getsid(0) not in (os.getpid(), os.getsid(PARENT))
    return False
