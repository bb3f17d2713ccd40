"""What the standard library's ``Popen`` lacks to own a tree on Windows."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from subprocess import PIPE, STDOUT, TimeoutExpired
from typing import TYPE_CHECKING, Any, AnyStr, cast

# The standard library's Popen uses these modules for the same purpose.
assert sys.platform == "win32"
import _winapi  # noqa: E402 - Windows only
import msvcrt  # noqa: E402 - Windows only
from asyncio.windows_utils import pipe  # noqa: E402 - Windows only

from .exchange_windows import Exchange  # noqa: E402 - Windows only
from .leaving import await_interrupted, drop_streams  # noqa: E402 - after it

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .manager import BlockingManager

__all__ = ["INTERRUPT", "StandardPopen"]

#: What passes Ctrl-C on. A group of its own hears no CTRL_C: CREATE_NEW_PROCESS_GROUP turns that off.
INTERRUPT = signal.SIGBREAK
#: A handle that is closed when it is dropped.
_HANDLE: Any = getattr(subprocess, "Handle")  # noqa: B009 - it is not public
#: The buffer of an overlapped pipe, in bytes.
_BUFFER = 1 << 16
#: How long, in seconds, the files of a tree that has ended may be held by somebody else.
_HOLDERS_TIMEOUT = 1.0


class _ChildEnd(int):
    """A descriptor for the child. The standard library closes what it has made itself with ``Close``."""

    made = False

    def Close(self) -> None:  # noqa: N802 - the standard library's name
        if self.made:
            self.made = False
            os.close(self)


class StandardPopen(subprocess.Popen[AnyStr]):
    """The standard library's ``Popen``, with descriptors of the C runtime in the place of handles, as on POSIX.

    No handle is inheritable while other threads may start programs: the core inherits copies of its own. And no wait
    outlasts Ctrl-C, which reaches this process alone: the tree has a console group of its own.
    """

    #: Of :func:`treeguard.run`, which reads and writes by itself.
    _kept: Any = None
    _exchange: Exchange | None = None
    #: Of the parameters of the tree, those that the standard library has no argument for.
    _further: Mapping[str, Any] = {}
    _manager: BlockingManager

    if TYPE_CHECKING:
        _communication_started: bool

        def _get_devnull(self) -> int: ...
        def _end(self) -> None: ...

    def _get_handles(self, stdin: Any, stdout: Any, stderr: Any) -> tuple[Any, ...]:
        """The ends of the pipes: the child's are descriptors, this process's are handles. -1 where there is none."""
        with contextlib.ExitStack() as undo:
            p2cread, p2cwrite = self._ends(stdin, True, undo)
            c2pwrite, c2pread = self._ends(stdout, False, undo)
            if stderr == STDOUT:
                errwrite, errread = (_ChildEnd(1) if c2pwrite == -1 else c2pwrite), -1
            else:
                errwrite, errread = self._ends(stderr, False, undo)
            undo.pop_all()
        return p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite

    def _ends(self, stream: Any, to_child: bool, undo: contextlib.ExitStack) -> tuple[Any, Any]:
        """The child's end, and this process's."""
        if stream is None:
            return -1, -1
        if stream == subprocess.DEVNULL:
            return _ChildEnd(self._get_devnull()), -1
        if stream != PIPE:
            return _ChildEnd(stream if isinstance(stream, int) else stream.fileno()), -1
        if self._kept is None:
            read, write = _winapi.CreatePipe(None, max(0, self._further.get("pipesize", 0)))
        else:
            # A pipe to the child is made in both directions, so that its end is seen when the child closes it.
            read, write = pipe(overlapped=(not to_child, to_child), duplex=to_child, bufsize=_BUFFER)
        handle, other = map(_HANDLE, (write, read) if to_child else (read, write))
        undo.callback(handle.Close)
        end = _ChildEnd(msvcrt.open_osfhandle(other, os.O_NOINHERIT))
        other.Detach()
        end.made = True
        undo.callback(end.Close)
        return end, handle

    def _abandon(self) -> None:
        """The start has failed. The standard library's code closes what was opened for it."""

    def communicate(self, input: Any = None, timeout: float | None = None) -> Any:  # noqa: A002
        """See :meth:`subprocess.Popen.communicate`."""
        if self._communication_started and input:
            raise ValueError("Cannot send input after starting communication")
        until = None if timeout is None else time.monotonic() + timeout
        try:
            if self._exchange is None:
                self._exchange = Exchange(self.stdin, self.stdout, self.stderr, input)
            if not self._exchange.wait(self._manager, until):
                assert timeout is not None
                raise TimeoutExpired(self.args, timeout, *self._exchange.so_far())
        except KeyboardInterrupt:
            await_interrupted(cast("Any", self))
            raise
        finally:
            self._communication_started = True
        result = self._exchange.result()
        self.wait(timeout=None if until is None else until - time.monotonic())
        return result

    def _leave(self, kind: type[BaseException] | None) -> None:
        """What ``__exit__`` does after a ``communicate``, with an exception of that kind, or None.

        Closing a file waits for the thread that reads or writes it, and Ctrl-C does not end that. So it comes last.
        """
        assert self._exchange is not None
        process = cast("Any", self)
        try:
            if kind is None:
                self.wait()
            elif issubclass(kind, KeyboardInterrupt):
                await_interrupted(process)
        except KeyboardInterrupt:
            await_interrupted(process)
            raise
        finally:
            try:
                self._end()
            finally:
                if not self._exchange.wait(self._manager, time.monotonic() + _HOLDERS_TIMEOUT):
                    self.stdin, self.stdout, self.stderr = self._exchange.left_alone()
                drop_streams(process)
