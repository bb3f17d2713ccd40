"""What the tests without an event loop share."""

from __future__ import annotations

import contextlib
import ctypes
import signal
import sys
import threading
from collections.abc import Iterator
from ctypes import wintypes
from typing import Any

import pytest

from treeguard._blocking import manager as managers

assert sys.platform == "win32"

__all__ = ["LEAVES", "PYTHON", "handles", "interrupted", "own_managers"]

#: This interpreter, to be followed by a program.
PYTHON = (sys.executable, "-c")
#: A root that ends, and a child of it that holds its output.
LEAVES = (
    "import subprocess, sys; print('hi', flush=True); "
    "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1000)'], close_fds=False)"
)

_kernel: Any = ctypes.WinDLL("kernel32", use_last_error=True)
#: Handles are small multiples of four.
_POSSIBLE = range(4, 1 << 14, 4)


@pytest.fixture(autouse=True)
def own_managers() -> Iterator[None]:
    """They are made when they are first used, and would live as long as the process, with handles and threads."""
    yield
    managers._close_all()


def handles() -> int:
    """How many handles this process has open. Wine does not count them, so each is looked at."""
    flags = wintypes.DWORD()
    return sum(bool(_kernel.GetHandleInformation(wintypes.HANDLE(n), ctypes.byref(flags))) for n in _POSSIBLE)


@contextlib.contextmanager
def interrupted(after: float) -> Iterator[None]:
    """Raises KeyboardInterrupt in the block after so many seconds, as Ctrl-C does, and takes it at its end."""
    interrupter = threading.Timer(after, signal.raise_signal, (signal.SIGINT,))
    interrupter.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            yield
    finally:
        interrupter.cancel()
        interrupter.join()
