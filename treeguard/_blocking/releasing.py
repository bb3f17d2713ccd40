"""Releasing the tree of a :class:`Popen`. Loaded when one is released."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from .._core.releasing import PATIENCE, Owner, Release
from ..errors import ProcessEnded
from ..released import ReleaseRefused

if TYPE_CHECKING:
    from ..released import ReleasedTree
    from .popen import Popen

__all__ = ["release"]


def release(process: Popen[Any]) -> ReleasedTree:
    """See :meth:`Popen.release`."""
    manager, record = process._manager, process._record
    if record is None:
        raise ProcessEnded("nothing was started")
    if any(stream is not None for stream in (process.stdin, process.stdout, process.stderr, process.pty)):
        raise ReleaseRefused("this process holds pipes or a terminal of the tree, whose other end would break")
    manager.wait(lambda: True, 0.0)
    lock = manager._pump.lock
    with lock:
        owner = Owner(manager._engine, manager._backend, manager._trees, manager.containment.mechanism)
        attempt = Release(owner, record)
    try:
        while True:
            with lock:
                if not attempt.order():
                    return attempt.complete()
            manager.wait(attempt.answered, time.monotonic() + PATIENCE)
    finally:
        with lock:
            attempt.take_back()
