"""What the standard library's ``Popen`` lacks on POSIX: an owner of its pipes when a signal handler raises."""

from __future__ import annotations

import os
import subprocess
import sys
from subprocess import DEVNULL, PIPE, STDOUT
from typing import TYPE_CHECKING, Any, AnyStr, cast

from .._core.native import Descriptor
from .._core.native_descriptors import Pipe
from .leaving import drop_streams

if TYPE_CHECKING:
    from .popen import Popen

__all__ = ["StandardPopen"]


class _Opened:
    """What was opened for the streams of a process. Its files own their ends as well, and may have closed them."""

    def __init__(self) -> None:
        #: By number of the stream.
        self._pipes: dict[int, Pipe] = {}
        self._null = Descriptor()

    def open(self, streams: tuple[Any, ...]) -> tuple[int, ...]:
        """What ``_get_handles`` returns. Raises OSError."""
        stdin, stdout, stderr = streams
        p2cread, p2cwrite = self._ends(0, stdin)
        c2pwrite, c2pread = self._ends(1, stdout)
        if stderr == STDOUT:
            standard: Any = sys.__stdout__
            return p2cread, p2cwrite, c2pread, c2pwrite, -1, standard.fileno() if c2pwrite == -1 else c2pwrite
        errwrite, errread = self._ends(2, stderr)
        return p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite

    def _ends(self, number: int, stream: Any) -> tuple[int, int]:
        """The child's end of a stream, and this process's; -1 where there is none."""
        if stream is None:
            return -1, -1
        if stream == PIPE:
            self._pipes[number] = pipe = Pipe()
            read, write = pipe.ends
            return (write, read) if number else (read, write)
        if stream == DEVNULL:
            if self._null.number < 0:
                self._null.open(os.devnull, os.O_RDWR)
            return self._null.number, -1
        return (stream if isinstance(stream, int) else stream.fileno()), -1

    def give(self) -> None:
        """Closes the child's ends. Those of this process are its files'."""
        for number, pipe in self._pipes.items():
            pipe.give(int(number > 0))
        self._null.close()

    def close(self) -> None:
        """Closes what is still open."""
        for pipe in self._pipes.values():
            pipe.close()
        self._null.close()


class StandardPopen(subprocess.Popen[AnyStr]):
    """The standard library's ``Popen``, with an owner for each descriptor before an exception can come.

    Its own code loses those that a call has just returned.
    """

    _opened: _Opened | None = None

    if TYPE_CHECKING:
        _closed_child_pipe_fds: bool

    def _get_handles(self, stdin: Any, stdout: Any, stderr: Any) -> tuple[int, ...]:
        self._opened = _Opened()
        return self._opened.open((stdin, stdout, stderr))

    def _close_pipe_fds(self, *_: int) -> None:
        if self._opened is not None:
            # First: what is closed once must not be closed again, when its number may be another file's.
            self._closed_child_pipe_fds = True
            self._opened.give()

    def _abandon(self) -> None:
        """The start has failed, or was interrupted."""
        if self._opened is not None:
            drop_streams(cast("Popen[AnyStr]", self))
            self._opened.close()
