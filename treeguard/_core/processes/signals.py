"""Signalling exactly the process that was seen, by handle."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable

from ..handlers import SystemErrors, of_handler
from ..native import Descriptor
from ..native_descriptors import open_process
from .freezer import release
from .process import get_process

__all__ = ["kill_if", "signal_if"]


def kill_if(pid: int, meant: Callable[[], bool]) -> bool:
    """Kills the process of that number if it is the one ``meant``. Returns whether it was, and could be killed.

    A process that a freezer holds is released, since it would not die before.
    """
    killed = signal_if(pid, signal.SIGKILL, meant)
    # A frozen process is shown as if it waited for a disk.
    if killed and (seen := get_process(pid)) is not None and seen.state == "D":
        release(pid)
    return killed


def signal_if(pid: int, number: int, meant: Callable[[], bool]) -> bool:
    """Signals the process of that number if it is the one ``meant``. Returns whether it was, and could be signalled.

    The handle is opened before the look. So the signal goes to the process that was seen, even if another process gets
    its number later. Without handles (before Linux 5.3, or where a filter forbids them) the moment between the look and
    the signal is unsafe.
    """
    handle = Descriptor()
    try:
        with SystemErrors():
            try:
                open_process(handle, pid)
            except ProcessLookupError:
                return False
        return meant() and _send(pid, handle.number, number)
    finally:
        handle.close()


def _send(pid: int, handle: int, number: int) -> bool:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if handle >= 0:
            try:
                signal.pidfd_send_signal(handle, number)
                return True
            except ProcessLookupError:
                return False
            except OSError as error:
                # Either a filter refused this call or the process may not be signalled: os.kill shows which.
                if of_handler(error):
                    raise
        os.kill(pid, number)
        return True
    return False
