"""Leaving the block of a ``Popen``: what is waited for, and what is closed."""

from __future__ import annotations

import contextlib
from subprocess import TimeoutExpired
from typing import TYPE_CHECKING, Any

from ..errors import GuardLost

if TYPE_CHECKING:
    from .popen import Popen

__all__ = ["await_interrupted", "drop_streams", "leave"]


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
