"""Descriptors that a child is given by their numbers."""

from __future__ import annotations

import os
import sys

if sys.platform != "win32":
    import fcntl

__all__ = ["above_standard"]

_FIRST = 3


def above_standard(fd: int) -> int:
    """The same with a number above those of the standard streams, in exchange for ``fd``. Raises OSError: it is closed.

    A host may have these closed, as daemons do. What is opened then gets their numbers, and would be lost where a
    child's own streams are put.
    """
    if sys.platform == "win32" or fd >= _FIRST:
        return fd
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FIRST)
    finally:
        os.close(fd)
