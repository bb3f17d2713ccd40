"""Making one pipe: this process's end as a file that an event loop can watch, and the child's end as a descriptor."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterable
from typing import Any

from ...errors import spawn_error

if sys.platform == "win32":
    import msvcrt
    from asyncio.windows_utils import PipeHandle, pipe
else:
    import fcntl

__all__ = ["PipeEnd", "make_pipe", "set_pipe_sizes", "written_so_far"]

#: This process's end: a file, or a handle on Windows. It has ``fileno`` and ``close``.
PipeEnd = Any

_STREAMS = 3
#: ``F_SETPIPE_SZ`` of Linux.
_F_SETPIPE_SZ = 1031
_CHUNK = 65536
#: The most that a pipe can hold: an unprivileged process can make one that large (fs.pipe-max-size).
_MOST = 1 << 20


if sys.platform == "win32":

    def make_pipe(*, to_child: bool) -> tuple[PipeEnd, int]:
        """This process's end, overlapped, and the child's descriptor. Raises OSError."""
        # A pipe to the child is made in both directions, so that the loop sees when the child closes it.
        read, write = pipe(overlapped=(not to_child, to_child), duplex=to_child)
        ours, childs = (write, read) if to_child else (read, write)
        end = PipeHandle(ours)
        try:
            return end, msvcrt.open_osfhandle(childs, 0)
        except BaseException:
            end.close()
            PipeHandle(childs).close()
            raise

else:

    def make_pipe(*, to_child: bool) -> tuple[PipeEnd, int]:
        """This process's end, close-on-exec and non-blocking, and the child's descriptor. Raises OSError."""
        held = list(os.pipe())
        try:
            # With closed standard streams, the pipe may have got their numbers, where others would read and write.
            for i in range(2):
                if held[i] < _STREAMS:
                    low, held[i] = held[i], fcntl.fcntl(held[i], fcntl.F_DUPFD_CLOEXEC, _STREAMS)
                    os.close(low)
            childs, ours = held if to_child else reversed(held)
            os.set_blocking(ours, False)
            file = open(ours, "wb" if to_child else "rb", buffering=0)  # noqa: SIM115, PTH123 - a descriptor
        except BaseException:
            for fd in held:
                os.close(fd)
            raise
        return file, childs


def set_pipe_sizes(fds: Iterable[int], size: int, program: str | None) -> None:
    """Sets how many bytes these pipes hold, where a pipe has such a setting. Raises :class:`~treeguard.SpawnError`."""
    if sys.platform == "linux":
        try:
            for fd in fds:
                fcntl.fcntl(fd, _F_SETPIPE_SZ, size)
        except TimeoutError:  # of a signal's handler
            raise
        except OSError as error:
            raise spawn_error("pipesize", error.errno or errno.EIO, program) from error


def written_so_far(end: PipeEnd) -> tuple[bytes, bool]:
    """What a pipe or a terminal holds now, and whether its end has come.

    A process that goes on writing does not hold this up.
    """
    data = bytearray()
    # On Windows the loop is reading already, and nobody else can.
    while sys.platform != "win32" and len(data) < _MOST:
        try:
            chunk = os.read(end.fileno(), _CHUNK)
        except (OSError, ValueError) as error:  # nothing more now, or closed
            # The end of a terminal that no process has open any more.
            return bytes(data), getattr(error, "errno", None) == errno.EIO
        if not chunk:
            return bytes(data), True
        data += chunk
    return bytes(data), False
