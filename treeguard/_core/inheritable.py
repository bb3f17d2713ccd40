"""The descriptors that a program started with ``close_fds=False`` inherits."""

from __future__ import annotations

import os

__all__ = ["inheritable_fds"]


def inheritable_fds() -> tuple[int, ...]:
    """Returns the inheritable descriptors of this process, except the standard streams. Looks at every open one.

    Another thread may open an inheritable descriptor at any time, so the list may be out of date.
    """
    fds = map(int, os.listdir("/dev/fd"))  # noqa: PTH208 - numbers, not paths
    return tuple(fd for fd in fds if fd > 2 and _is_inheritable(fd))


def _is_inheritable(fd: int) -> bool:
    try:
        return os.get_inheritable(fd)
    except OSError:  # the descriptor of the listing itself
        return False
