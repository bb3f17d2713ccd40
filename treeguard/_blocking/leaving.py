"""Leaving the block of a ``Popen``: what is waited for, and what is closed."""

from __future__ import annotations

import contextlib
from subprocess import TimeoutExpired
from typing import TYPE_CHECKING, Any

from ..errors import GuardLost, NotOwner

if TYPE_CHECKING:
    from collections.abc import Callable

    from .popen import Popen

__all__ = ["await_interrupted", "drop_streams", "dropped", "leave"]


def leave(process: Popen[Any], kind: type[BaseException] | None) -> None:
    """What ``__exit__`` does with an exception of that kind, or None."""
    try:
        if kind is None:
            _finish(process)
        elif issubclass(kind, KeyboardInterrupt):
            await_interrupted(process)
    except KeyboardInterrupt:
        await_interrupted(process)
        raise
    finally:
        # The tree first: a process that does not read would hold up a flush.
        try:
            process._end()
        finally:
            # Again: an exception of a signal handler may have kept that from being begun.
            process._end()
            drop_streams(process)


def _finish(process: Popen[Any]) -> None:
    """Closes the streams and waits for the root, as the standard library does."""
    stream: Any
    # At a terminal too, a root that waits for somebody to read or to type would be waited for in vain.
    for stream in (process.stdout, process.stderr, process.pty):
        if stream is not None:
            stream.close()
    try:
        if process.stdin is not None and not process.stdin.closed:
            # Before close(): when that of a text stream is interrupted in a write, it writes again.
            process.stdin.flush()
            process.stdin.close()
    except BrokenPipeError:
        process.wait()
        raise
    process.wait()


def await_interrupted(process: Popen[Any]) -> None:
    """After Ctrl-C: the root has a quarter of a second, unless wait() or communicate() has given it that."""
    process._pass_on()
    seconds, process._sigint_wait_secs = process._sigint_wait_secs, 0.0
    if seconds > 0:
        with contextlib.suppress(TimeoutExpired, GuardLost):
            process._wait(timeout=seconds)


def drop_streams(process: Popen[Any]) -> None:
    """Closes the streams of a tree that was ended, without writing what is not written yet."""
    stream: Any
    for stream in (process.stdin, process.stdout, process.stderr, process.pty):
        if stream is not None and not stream.closed:
            buffered = getattr(stream, "buffer", stream)
            getattr(buffered, "raw", buffered).close()


def dropped(process: Popen[Any], warn: Callable[..., object]) -> None:
    """The object is gone. Its tree goes on, as the standard library's child does, and ends with this process.

    That of a block does not: an exception of a signal handler may have kept its end from being begun.
    """
    record = process._record
    if process._bound and record is not None and not record.left:
        with contextlib.suppress(OSError, NotOwner):
            process._manager.kill(record)
    # After the loss of its guard a tree may have ended, and nobody knows how its root has.
    unknown = process._child_created and process.returncode is None and (record is None or not record.left)
    if unknown and process._manager.owned and process.exit is None:
        warn(f"subprocess {process.pid} is still running", ResourceWarning, source=process)
