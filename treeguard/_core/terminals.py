"""Pseudo-terminals: this process's end and the child's, their size, and what ends an input typed at one."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
import sys
import termios
import weakref
from typing import Any

import msgspec

from ..errors import spawn_error
from ..params import DEVNULL, PIPE, SpawnParams
from .spec import Additions
from .spec.attributes import accounts_of

__all__ = ["Terminal", "streams_at_terminal"]

#: Rows and columns of a terminal whose size was not given.
_SIZE = (24, 80)
_STREAMS = 3
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
        self._held: list[int] = []
        try:
            self._open()
            self._size = _SIZE if isinstance(size, bool) else size
            _set_size(self._held[0], *self._size)
            os.set_blocking(self._held[0], False)
            #: The path of the terminal, as ``tty`` shows it to the child. Empty where it has none.
            self.device = _device(self._held[1])
            #: What ``/proc`` calls it, in every process that has it open.
            self.identity = _identity(self._held[1]) or self.device
            self._file: Any = open(self._held[0], "r+b", buffering=0)  # noqa: SIM115, PTH123 - a descriptor
        except OSError as error:
            self._close_held()
            raise spawn_error("pty", error.errno or errno.EIO, program) from error
        except BaseException:
            self._close_held()
            raise
        del self._held[0]
        _living.add(self)

    def _open(self) -> None:
        for fd in _opened():
            self._held.append(fd)
        # With closed standard streams it may have got their numbers, where others would read and write.
        for i in range(2):
            if self._held[i] < _STREAMS:
                low, self._held[i] = self._held[i], fcntl.fcntl(self._held[i], fcntl.F_DUPFD_CLOEXEC, _STREAMS)
                os.close(low)

    def _close_held(self) -> None:
        while self._held:
            os.close(self._held.pop())

    @property
    def childs(self) -> int:
        """The child's end."""
        return self._held[0]

    def close_childs(self) -> None:
        """Closes the copy of the child's end, which has been started by now, or never will be."""
        self._close_held()

    def fileno(self) -> int:
        """The descriptor of this process's end; -1 once it is closed."""
        return -1 if self._file.closed else int(self._file.fileno())

    @property
    def closed(self) -> bool:
        """Whether this process's end is closed."""
        return bool(self._file.closed)

    def close(self) -> None:
        """Closes both ends. The terminal is hung up: its session's leader and its foreground group get SIGHUP."""
        self._close_held()
        self._file.close()

    def read(self) -> bytes | None:
        """What was written to the terminal. Empty: no process has it open now. None: nothing was written.

        Raises OSError for anything else.
        """
        try:
            return os.read(self._file.fileno(), _CHUNK)
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
            return os.write(self._file.fileno(), data)
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


def _opened() -> tuple[int, int]:
    """Both ends, close-on-exec from the beginning where the system can do that."""
    peer, unlock = getattr(termios, "TIOCGPTPEER", 0x5441), getattr(termios, "TIOCSPTLCK", 0x40045431)
    if sys.platform != "linux" or termios.TIOCSWINSZ != _GENERIC:
        return os.openpty()
    flags = os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC
    ours = os.open("/dev/ptmx", flags)
    try:
        fcntl.ioctl(ours, unlock, bytes(4))
        try:
            return ours, _reopened(fcntl.ioctl(ours, peer, flags), flags)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTTY):
                raise
        # Before Linux 4.13 a terminal is opened by its name alone.
        number = int.from_bytes(fcntl.ioctl(ours, _TIOCGPTN, bytes(4)), sys.byteorder)
        return ours, os.open(f"/dev/pts/{number}", flags)
    except BaseException:
        os.close(ours)
        raise


def _reopened(fd: int, flags: int) -> int:
    """The same terminal, opened in another way. Closes the first descriptor, unless that is all there is.

    TIOCGPTPEER leaves O_CLOEXEC among the flags of the open file (6.18), so ``/proc/PID/fdinfo`` has it for every copy,
    whether an exec closes that or not.
    """
    try:
        again = os.open(f"/proc/self/fd/{fd}", flags)
    except OSError:
        return fd
    os.close(fd)
    return again


#: Numbers of requests that Python has since 3.13. Machines with other ones differ in this one too.
_GENERIC, _TIOCGPTN = 0x5414, 0x80045430


def _set_size(fd: int, rows: int, columns: int) -> None:
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack(_WINSIZE, rows, columns, 0, 0))


def _device(fd: int) -> str:
    try:
        return os.ttyname(fd)
    except OSError:
        return ""


def _identity(fd: int) -> str | None:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")  # noqa: PTH115 - a link that is no path
    except OSError:
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
