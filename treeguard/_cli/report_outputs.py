"""Where reports go: a file that is replaced at once, or a descriptor that gets a line for each event."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import stat
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .output import complain

__all__ = ["ReportFile", "StatusDescriptor"]

#: Milliseconds to wait for room, at the end. A pipe may be full, and its reader may read nothing any more.
_ROOM = 10_000
#: A pipe that has room has it for so many bytes: PIPE_BUF, or a page.
_CHUNK = 4096


class ReportFile:
    """A file that gets a report, as a whole or not at all. ``-`` is standard error: standard output is the command's.

    A regular file is replaced by a new one of its mode. A device, a pipe, or what an inherited descriptor leads to is
    written to.
    """

    def __init__(self, name: str) -> None:
        """Raises OSError unless the file can be written. Leaves nothing behind."""
        self._name = name
        self._fd = -1
        self._path = Path(name)
        try:
            if name != "-":
                self._open()
        except OSError as error:
            raise OSError(error.errno, error.strerror, f"--report {name}") from None

    def _open(self) -> None:
        if not self._name:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        found = _status(Path(self._name))
        self._path = Path(os.path.realpath(self._name))
        self._fd = _inherited(found)
        if self._fd < 0 and found is not None and not stat.S_ISREG(found.st_mode):
            # A pipe without a reader would have to be waited for. O_NONBLOCK makes that an error.
            flags = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
            self._fd = os.open(self._name, os.O_WRONLY | flags)
            os.set_blocking(self._fd, True)
        if self._fd < 0:
            if found is not None and not os.access(self._path, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            # Made when there is something to write: nobody would remove it if this process were killed meanwhile.
            fd, made = self._made()
            os.close(fd)
            made.unlink()

    def write(self, report: Mapping[str, Any]) -> None:
        """Writes the report. An error is told on standard error, and changes nothing else."""
        text = json.dumps(report) + "\n"
        if self._name == "-":
            complain(text.removesuffix("\n"))
            return
        try:
            if self._fd >= 0:
                _write_all(self._fd, text.encode())
            else:
                self._replace(text.encode())
        except OSError as error:
            complain(f"treeguard run: --report {self._name}: {error.strerror}")

    def _made(self) -> tuple[int, Path]:
        fd, made = tempfile.mkstemp(prefix=".treeguard-report-", dir=self._path.parent)
        return fd, Path(made)

    def _replace(self, text: bytes) -> None:
        found = _status(self._path)
        fd, made = self._made()
        try:
            try:
                _write_all(fd, text)
                if found is not None and hasattr(os, "fchown"):
                    with contextlib.suppress(OSError):
                        os.fchown(fd, found.st_uid, found.st_gid)
                made.chmod(0o666 & ~_umask() if found is None else stat.S_IMODE(found.st_mode))
            finally:
                os.close(fd)
            made.replace(self._path)
        except BaseException:
            with contextlib.suppress(OSError):
                made.unlink()
            raise


class StatusDescriptor:
    """A descriptor that gets a line of JSON for each event. A reader that has gone, or does not read, is no error."""

    def __init__(self, fd: int) -> None:
        """Raises OSError unless it is an inherited descriptor that can be written to."""
        self._fd = fd
        self._unwritten = b""
        option = f"--status-fd {fd}"
        try:
            for_writing, inherited = _is_for_writing(fd), os.get_inheritable(fd)
        except (OSError, OverflowError):
            for_writing = inherited = False
        # What is not inheritable belongs to this interpreter.
        if not inherited:
            raise OSError(errno.EBADF, "is not an open descriptor", option)
        if not for_writing:
            raise OSError(errno.EBADF, "is not open for writing", option)
        if fd > 2:
            # Not the command's.
            os.set_inheritable(fd, False)

    def write(self, line: Mapping[str, Any]) -> None:
        """Writes one line. Only the last one waits for room, since meanwhile no signal and no timeout would be heard.

        What there is no room for goes with the next line.
        """
        self._unwritten += json.dumps(line).encode() + b"\n"
        with contextlib.suppress(OSError):
            self._unwritten = _unwritten(self._fd, self._unwritten, _ROOM if line["event"] == "ended" else 0)


def _write_all(fd: int, data: bytes) -> None:
    if _unwritten(fd, data, _ROOM):
        raise BlockingIOError(errno.EAGAIN, "nobody reads what was written")


def _unwritten(fd: int, data: bytes, patience: int) -> bytes:
    """Writes, and returns what there was no room for within ``patience`` milliseconds after the last success."""
    while data:
        if sys.platform != "win32":
            poll = select.poll()
            poll.register(fd, select.POLLOUT)
            if not poll.poll(patience):
                return data
        with contextlib.suppress(BlockingIOError):
            data = data[os.write(fd, data[:_CHUNK]) :]
    return data


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _inherited(found: os.stat_result | None) -> int:
    """A copy of the inherited descriptor for writing that leads to a file; -1 if none does.

    The command, or the reader of events, writes there too. That must not be replaced.
    """
    for fd in _open_descriptors():
        with contextlib.suppress(OSError):
            if (
                found is not None
                and os.path.samestat(found, os.fstat(fd))
                and os.get_inheritable(fd)
                and _is_for_writing(fd)
            ):
                return os.dup(fd)
    return -1


def _open_descriptors() -> list[int]:
    try:
        return sorted(map(int, os.listdir("/dev/fd")))  # noqa: PTH208 - numbers, not paths
    except (OSError, ValueError):
        return [1, 2]


def _is_for_writing(fd: int) -> bool:
    if sys.platform == "win32":
        return True
    import fcntl  # noqa: PLC0415 - Windows has none

    return fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY


def _umask() -> int:
    os.umask(mask := os.umask(0o077))
    return mask
