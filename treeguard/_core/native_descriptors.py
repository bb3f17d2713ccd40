"""Descriptors that few need, each with an owner before Python can raise an exception of a signal handler."""

from __future__ import annotations

import os
from typing import Any

from .native import Descriptor, _ffi, _lib

__all__ = ["Pipe", "open_memory", "open_process", "open_waker"]


def open_memory(file: Descriptor, name: str) -> None:
    """Opens a nameless file in memory. Raises OSError, also if the system has no such files (macOS)."""
    _check(_lib.tg_memory_kept(name.encode(), file._cell))


def open_process(handle: Descriptor, pid: int) -> None:
    """Opens a handle of a process, on Linux. Raises OSError."""
    _check(_lib.tg_pidfd_kept(pid, handle._cell))


def open_waker(reader: Descriptor, writer: Descriptor) -> None:
    """Opens what one thread writes to, and another polls. Where one descriptor does for both, only the reader is open.

    Raises OSError.
    """
    _check(_lib.tg_waker_kept(reader._cell, writer._cell))


class Pipe:
    """A pipe of a child, close-on-exec. Another owner may take an end and close it, which then is not closed here."""

    __slots__ = ("_pipe",)

    def __init__(self) -> None:
        """Raises OSError."""
        self._pipe: Any = _ffi.gc(_ffi.new("struct tg_pipe *", ((-1, -1), 0)), _lib.tg_pipe_close)
        _check(_lib.tg_pipe_kept(self._pipe))

    @property
    def ends(self) -> tuple[int, int]:
        """Where to read and where to write; -1 for what is not this object's any more."""
        return self._pipe.ends[0], self._pipe.ends[1]

    def give(self, closed: int) -> None:
        """Closes one end (0: the one to read from), and leaves the other one to its other owner."""
        _lib.tg_pipe_give(self._pipe, closed)

    def close(self) -> None:
        """Closes what is still open. Calling it again has no effect."""
        _lib.tg_pipe_close(self._pipe)


def _check(result: int) -> None:
    if result < 0:
        raise OSError(-result, os.strerror(-result))
