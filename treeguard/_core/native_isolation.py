"""What the C core knows of isolation on this host."""

from __future__ import annotations

import os

from .native import _ffi, _lib

__all__ = ["isolation_abi"]


def isolation_abi() -> tuple[int, int]:
    """The version of Landlock's ABI, and the first one that isolates, on POSIX systems. Raises OSError without it."""
    needed = _ffi.new("int *")
    version = _lib.tg_isolation_abi(needed)
    if version < 0:
        raise OSError(-version, os.strerror(-version))
    return version, needed[0]
