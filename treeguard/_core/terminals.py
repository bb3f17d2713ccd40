"""Pseudo-terminals: this process's end and the child's, their size, and what ends an input typed at one."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
import termios
import weakref
from typing import Any

import msgspec

from ..errors import spawn_error
from ..params import DEVNULL, PIPE, SpawnParams
from .handlers import SystemErrors, of_handler
from .native import Descriptor
from .native_terminals import open_pty
from .spec import Additions
from .spec.attributes import accounts_of

__all__ = ["Terminal", "streams_at_terminal"]

#: Rows and columns of a terminal whose size was not given.
_SIZE = (24, 80)
_WINSIZE = "HHHH"
_CHUNK = 65536
#: What ends an input where the terminal does not tell: Ctrl-D.
_CTRL_D = b"\x04"


class Terminal:
    """This process's end of a pseudo-terminal, close-on-exec and non-blocking; and the child's, until it has its own.

    :meth:`close` may be called again. What the terminal is asked after that has no effect.
    """

    def __init__(self, size: bool | tuple[int, int], program: str | None) -> None:
        """``size``: True, or rows and columns. Raises :class:`~treeguard.SpawnError`."""
        self._ours, self._childs = Descriptor(), Descriptor()
        _living.add(self)
        try:
            open_pty(self._ours, self._childs)
            self._size = _SIZE if isinstance(size, bool) else size
            self.resize(*self._size)
        except OSError as error:
            self.close()
            if of_handler(error):
                raise
            raise spawn_error("pty", error.errno or errno.EIO, program) from error
        #: The path of the terminal, as ``tty`` shows it to the child. Empty where it has none.
        self.device = _device(self.childs)
        self._identity = _identity(self.childs) if os.isatty(self.childs) else None

    @property
    def childs(self) -> int:
        """The child's end."""
        return self._childs.number

    def close_childs(self) -> None:
        """Closes the copy of the child's end, which has been started by now, or never will be."""
        self._childs.close()

    def fileno(self) -> int:
        """The descriptor of this process's end; -1 once it is closed."""
        return self._ours.number

    @property
    def closed(self) -> bool:
        """Whether this process's end is closed."""
        return self._ours.number < 0

    @property
    def identities(self) -> frozenset[str]:
        """What ``/proc`` calls it, in every process that has it open.

        Nothing once it is closed: its number may be that of somebody else's terminal then.
        """
        return frozenset() if self.closed or self._identity is None else frozenset({self._identity})

    def close(self) -> None:
        """Closes both ends. The terminal is hung up: its session's leader and its foreground group get SIGHUP."""
        self._childs.close()
        self._ours.close()

    def read(self) -> bytes | None:
        """What was written to the terminal. Empty: no process has it open now. None: nothing was written.

        Raises OSError for anything else.
        """
        try:
            return os.read(self._ours.number, _CHUNK)
        except BlockingIOError:
            return None
        except OSError as error:
            # Linux. Other systems read nothing.
            if error.errno != errno.EIO:
                raise
            return b""

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Types as much as there is room for. Returns how many bytes that is."""
        try:
            return os.write(self._ours.number, data)
        except BlockingIOError:
            return 0

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns; the last ones that were set here, once it is closed."""
        if self.closed:
            return self._size
        answer = fcntl.ioctl(self.fileno(), termios.TIOCGWINSZ, bytes(struct.calcsize(_WINSIZE)))
        rows, columns, _, _ = struct.unpack(_WINSIZE, answer)
        return rows, columns

    def resize(self, rows: int, columns: int) -> None:
        """Changes the size. The foreground group gets SIGWINCH."""
        self._size = rows, columns
        if not self.closed:
            _set_size(self.fileno(), rows, columns)

    def end_of(self, typed: bytes | bytearray | memoryview | None) -> bytes:
        """What has to be typed after an input to end it, as Ctrl-D does at the beginning of a line."""
        try:
            end: bytes = termios.tcgetattr(self.fileno())[6][termios.VEOF]
        except (termios.error, ValueError):
            end = _CTRL_D
        # Within a line it only lets the line be read as it is.
        return end if not typed or bytes(typed[-1:]) in (b"\n", b"\r") else 2 * end

    def given(self, params: SpawnParams, additions: Additions) -> SpawnParams:
        """The parameters of a child that gets the terminal, as each stream that was not given otherwise."""
        streams: dict[str, Any] = {
            name: self.childs for name in ("stdout", "stderr") if getattr(params, name) == "inherit"
        }
        if params.stdin == DEVNULL:
            streams["stdin"] = "null"
        elif params.stdin in ("null", "inherit") and additions.stdin is None:
            streams["stdin"] = self.childs
        numbers = [i for i, name in enumerate(("stdin", "stdout", "stderr")) if streams.get(name) == self.childs]
        if numbers:
            additions.terminal = numbers[0]
        else:
            additions.terminal = self.childs
            additions.pass_fds = (*additions.pass_fds, self.childs)
        if params.user is not None:
            self._hand_over(params, additions)
        return msgspec.structs.replace(params, **streams)

    def _hand_over(self, params: SpawnParams, additions: Additions) -> None:
        """Lets the root's user open the terminal by its name, as login(1) does. Without CAP_CHOWN it is inherited."""
        if additions.accounts is None:
            additions.accounts = accounts_of(params)
        if additions.accounts.user is not None:
            with contextlib.suppress(OSError):
                os.fchown(self.childs, additions.accounts.user, -1)


def _set_size(fd: int, rows: int, columns: int) -> None:
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack(_WINSIZE, rows, columns, 0, 0))


def _device(fd: int) -> str:
    with SystemErrors():
        return os.ttyname(fd)
    return ""


def _identity(fd: int) -> str | None:
    with SystemErrors():
        return os.readlink(f"/proc/self/fd/{fd}")  # noqa: PTH115 - a link that is no path
    return None


def streams_at_terminal(stdout: Any, stderr: Any, *, capture_output: bool) -> tuple[tuple[Any, Any], bool]:
    """The output streams of a command that is run at a terminal, and whether what is written to that is captured.

    It is where ``stdout`` was to be a pipe. With ``capture_output`` both streams are the terminal.
    """
    captured = stdout in (PIPE, "pipe")
    return (None if captured else stdout, None if capture_output else stderr), captured


_living: weakref.WeakSet[Terminal] = weakref.WeakSet()


def _after_fork() -> None:
    """A copy that is open would keep a terminal from being hung up."""
    for terminal in list(_living):
        terminal.close()


os.register_at_fork(after_in_child=_after_fork)
