"""Opening pseudo-terminals by the C core. Loaded when a tree is to have one."""

from __future__ import annotations

import os

from .native import Descriptor, _lib

__all__ = ["open_pty"]


def open_pty(ours: Descriptor, childs: Descriptor) -> None:
    """Opens both ends, ours non-blocking. Raises OSError; what is open by then is the descriptors' to close."""
    result = _lib.tg_pty_kept(ours._cell, childs._cell)
    if result < 0:
        raise OSError(-result, os.strerror(-result))
