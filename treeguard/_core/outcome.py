"""The outcome of a command that was run as a tree: its result, its errors, and the output that was kept."""

from __future__ import annotations

import io
import locale
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, Literal, TypeVar

import msgspec

from ..errors import TreeguardError
from ..types import RootExit
from .validation import number, one_of, whole_number

__all__ = [
    "CalledProcessError",
    "Capture",
    "CompletedTree",
    "Keep",
    "Left",
    "OnRootExit",
    "TextMode",
    "TimeoutExpired",
    "check_cap",
    "check_capture",
    "check_idle",
    "check_input",
    "check_on_root_exit",
    "check_timeout",
    "checked",
    "dropped_by",
    "text_mode",
]

#: The type of the output: bytes or str.
T = TypeVar("T")

#: What happens to the rest of a tree when its root has ended: it is killed, it is asked to end first, or it may finish.
OnRootExit = Literal["kill", "terminate", "wait"]

#: Which part of an output is kept if it is longer than the limit.
Keep = Literal["head", "tail"]


class Left(msgspec.Struct, frozen=True):
    """A process of a tree that still lived when the root had ended.

    ``pid`` is its process id and ``name`` its short name, as ``ps`` shows it. ``held_output`` tells whether it held a
    pipe of the tree's output open, so that a reader of that pipe would have waited for it. It is None where the system
    does not tell: on Windows and macOS, and for processes of another user.
    """

    __module__ = "treeguard"

    pid: int
    name: str
    held_output: bool | None = None


class CompletedTree(subprocess.CompletedProcess[T]):
    """The result of a command that has ended, and whose tree is empty. A :class:`subprocess.CompletedProcess`.

    ``exit`` tells how the root ended, as a :class:`~treeguard.RootExit`: exit code and signal are two fields there.
    ``left`` holds the processes that still lived when the root had ended, as :class:`Left`. ``dropped`` is the number
    of bytes of standard output and of standard error that ``max_output`` left out.
    """

    __module__ = "treeguard"

    exit: RootExit
    left: tuple[Left, ...]
    dropped: tuple[int, int]

    def __init__(
        self,
        args: Any,
        returncode: int,
        stdout: T | None = None,
        stderr: T | None = None,
        *,
        exit: RootExit | None = None,  # noqa: A002 - the name of the attribute
        left: Sequence[Left] = (),
        dropped: tuple[int, int] = (0, 0),
    ) -> None:
        super().__init__(args, returncode, stdout, stderr)
        self.exit = _exit_of(returncode) if exit is None else exit
        self.left = tuple(left)
        self.dropped = dropped

    def __repr__(self) -> str:
        left = f", left={self.left!r}" if self.left else ""
        return f"{super().__repr__()[:-1]}{left})"

    def check_returncode(self) -> None:
        """Raises :class:`CalledProcessError` unless the command ended with exit code 0."""
        if self.returncode:
            raise CalledProcessError(
                *(self.returncode, self.args, self.stdout, self.stderr),
                exit=self.exit,
                left=self.left,
                dropped=self.dropped,
            )


def checked(done: CompletedTree[T]) -> CompletedTree[T]:
    """The result, unless the command failed.

    The error's ``args`` are the return code and the command, as those of the standard library's ``run``: what was
    written may be much, and ``repr`` shows the ``args``.
    """
    if done.returncode:
        raise CalledProcessError(
            *(done.returncode, done.args),
            output=done.stdout,
            stderr=done.stderr,
            exit=done.exit,
            left=done.left,
            dropped=done.dropped,
        )
    return done


class CalledProcessError(TreeguardError, subprocess.CalledProcessError):
    """A command was run with ``check``, and did not end with exit code 0. A :class:`subprocess.CalledProcessError`.

    ``exit``, ``left`` and ``dropped`` are those of :class:`CompletedTree`.
    """

    __module__ = "treeguard"

    def __init__(
        self,
        returncode: int,
        cmd: Any,
        output: Any = None,
        stderr: Any = None,
        *,
        exit: RootExit | None = None,  # noqa: A002 - the name of the attribute
        left: Sequence[Left] = (),
        dropped: tuple[int, int] = (0, 0),
    ) -> None:
        super().__init__(returncode, cmd, output, stderr)
        self.exit = _exit_of(returncode) if exit is None else exit
        self.left = tuple(left)
        self.dropped = dropped


class TimeoutExpired(TreeguardError, subprocess.TimeoutExpired):
    """A command did not end in time, or was silent for too long (``idle``). A :class:`subprocess.TimeoutExpired`.

    ``output`` and ``stderr`` are what it had written by then, as bytes in text mode too, since they may end within a
    character; None if that was nothing. So they are from the standard library on POSIX. ``exit`` tells how the root had
    ended by then, and is None if it had not; ``left`` are the processes that it had left. ``dropped`` is that of
    :class:`CompletedTree`.
    """

    __module__ = "treeguard"

    # typeshed has bytes for these two, and text is possible.
    stdout: Any
    stderr: Any

    def __init__(
        self,
        cmd: Any,
        timeout: float,
        output: Any = None,
        stderr: Any = None,
        *,
        idle: bool = False,
        exit: RootExit | None = None,  # noqa: A002 - the name of the attribute
        left: Sequence[Left] = (),
        dropped: tuple[int, int] = (0, 0),
    ) -> None:
        super().__init__(cmd, timeout, output, stderr)
        self.idle = idle
        self.exit = exit
        self.left = tuple(left)
        self.dropped = dropped

    def __str__(self) -> str:
        if self.idle:
            return f"Command '{self.cmd}' wrote nothing for {self.timeout} seconds"
        return super().__str__()


def _exit_of(returncode: int) -> RootExit:
    return RootExit(None, -returncode) if returncode < 0 else RootExit(returncode)


class Capture:
    """What a stream wrote, up to a number of bytes: the first ones, or the last ones. The rest is only counted."""

    def __init__(self, limit: int | None = None, keep: Keep = "head") -> None:
        self._limit = limit
        self._tail = keep == "tail"
        #: All of it, in parts: they are copied once, when they are put together.
        self._parts: list[bytes] = []
        #: What is kept where there is a limit.
        self._kept = bytearray()
        self._total = 0

    def add(self, data: bytes | bytearray | memoryview) -> None:
        """Takes what was written next."""
        self._total += len(data)
        limit = self._limit
        if limit is None:
            self._parts.append(bytes(data))
        elif self._tail:
            self._kept += data
            # Trimming at twice the size copies each byte about once.
            if len(self._kept) > 2 * limit + io.DEFAULT_BUFFER_SIZE:
                del self._kept[: len(self._kept) - limit]
        elif len(self._kept) < limit:
            self._kept += data[: limit - len(self._kept)]

    @property
    def value(self) -> bytes:
        """The bytes that are kept."""
        if self._limit is None:
            self._parts = [b"".join(self._parts)]
            return self._parts[0]
        if self._tail:
            return bytes(self._kept[max(0, len(self._kept) - self._limit) :])
        return bytes(self._kept)

    @property
    def dropped(self) -> int:
        """The number of bytes that are not kept."""
        return 0 if self._limit is None else max(0, self._total - self._limit)


def dropped_by(captures: Sequence[Capture | None]) -> tuple[int, int]:
    """The bytes that are not kept of standard output and of standard error. None: it was not captured."""
    stdout, stderr = [0 if capture is None else capture.dropped for capture in captures]
    return stdout, stderr


class TextMode(msgspec.Struct, frozen=True):
    """How a command's streams are converted to text, and back."""

    encoding: str
    errors: str

    def decode(self, data: bytes, *, cut: bool = False) -> str:
        """The text, every end of line a newline alone. ``cut``: the data may begin or end within a character."""
        text = data.decode(self.encoding, "replace" if cut and self.errors == "strict" else self.errors)
        return text.replace("\r\n", "\n").replace("\r", "\n")

    def encode(self, text: str) -> bytes:
        """The bytes for a standard input, with Windows' ends of line there, as with :mod:`subprocess`."""
        if sys.platform == "win32":
            text = text.replace("\n", "\r\n")
        return text.encode(self.encoding, self.errors)


def text_mode(*, text: bool | None = None, encoding: str | None = None, errors: str | None = None) -> TextMode | None:
    """The conversion for the arguments of that name, with :mod:`subprocess`'s defaults. None: the streams are bytes."""
    if not (text or encoding or errors):
        return None
    mode = TextMode(encoding or locale.getpreferredencoding(False), errors or "strict")
    "".encode(mode.encoding, mode.errors)  # raises LookupError for an encoding that does not exist
    return mode


def check_capture(max_output: int | None, keep: object) -> None:
    """Raises ValueError or TypeError for limits of an output that make no sense."""
    if max_output is not None:
        whole_number("max_output", max_output, least=0)
    one_of("keep", keep, ("head", "tail"))


def check_idle(has_pipe: bool) -> None:
    """Raises ValueError for an ``idle_timeout`` without an output that could be seen to be silent."""
    if not has_pipe:
        raise ValueError("idle_timeout must be None unless stdout or stderr is a pipe: no other output is seen here")


def check_cap(has_pipe: bool) -> None:
    """Raises ValueError for a ``max_output`` without an output that is captured."""
    if not has_pipe:
        raise ValueError("max_output must be None unless stdout or stderr is a pipe: no other output is captured")


def check_input(data: object, *, text: bool) -> None:
    """Raises TypeError unless it can be written to a standard input."""
    if not isinstance(data, str) if text else _is_no_buffer(data):
        raise TypeError(f"input must be {'a string' if text else 'bytes'}, not {type(data).__name__}")


def _is_no_buffer(data: Any) -> bool:
    try:
        memoryview(data)
    except TypeError:
        return True
    return False


def check_timeout(timeout: float) -> None:
    """Raises ValueError or TypeError unless it is a number. A negative one is over at once, as in :mod:`subprocess`."""
    number("timeout", timeout, "a number of seconds or None")


def check_on_root_exit(value: object) -> None:
    """Raises ValueError for what is none of :data:`OnRootExit`."""
    one_of("on_root_exit", value, ("kill", "terminate", "wait"))
