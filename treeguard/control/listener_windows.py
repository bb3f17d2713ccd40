"""Named pipes: both ends of one, or a name that the child connects to. They are local and for this user only."""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import secrets
import sys
from collections.abc import Callable
from ctypes import wintypes
from typing import TYPE_CHECKING, Any

from .._core.poll_thread import PollThread
from .._transport import End
from .listener import Accepted, BaseListener, InheritedEnd

if TYPE_CHECKING:
    import asyncio

assert sys.platform == "win32"
import _winapi  # noqa: E402 - Windows only
import msvcrt  # noqa: E402 - Windows only

from .._transport.pipes_windows import CHUNK, Waits, cancel, has_ended, opened  # noqa: E402 - Windows only

__all__ = ["UNAVAILABLE", "Listener", "pair"]

#: Nothing is missing on this system.
UNAVAILABLE: str | None = None

_STREAMS = 3
_REJECT_REMOTE_CLIENTS = 0x8
_BYTES = 0x0
_TOKEN_QUERY = 0x8
_TOKEN_USER = 1
_SDDL_REVISION = 1
#: An access list that grants everything to one user, and is protected from inherited entries.
_ONLY = "D:P(A;;GA;;;{})"

_kernel: Any = ctypes.WinDLL("kernel32", use_last_error=True)
_security: Any = ctypes.WinDLL("advapi32", use_last_error=True)
_kernel.GetCurrentProcess.restype = wintypes.HANDLE


class _SecurityAttributes(ctypes.Structure):
    """``SECURITY_ATTRIBUTES``."""

    _fields_ = (("size", wintypes.DWORD), ("descriptor", ctypes.c_void_p), ("inherit", wintypes.BOOL))


class _SidAndAttributes(ctypes.Structure):
    """``TOKEN_USER``. The data that it points to follows it in memory."""

    _fields_ = (("sid", ctypes.c_void_p), ("attributes", wintypes.DWORD))


def _checked(done: int) -> None:
    if not done:
        raise ctypes.WinError(ctypes.get_last_error())


def _user() -> str:
    """Returns the security identifier of the user that runs this process."""
    token, size = wintypes.HANDLE(), wintypes.DWORD()
    process = wintypes.HANDLE(_kernel.GetCurrentProcess())
    _checked(_security.OpenProcessToken(process, _TOKEN_QUERY, ctypes.byref(token)))
    try:
        room = ctypes.create_string_buffer(256)
        _checked(_security.GetTokenInformation(token, _TOKEN_USER, room, len(room), ctypes.byref(size)))
    finally:
        _kernel.CloseHandle(token)
    text = wintypes.LPWSTR()
    sid = ctypes.c_void_p(_SidAndAttributes.from_buffer(room).sid)
    _checked(_security.ConvertSidToStringSidW(sid, ctypes.byref(text)))
    try:
        return str(text.value)
    finally:
        _kernel.LocalFree(text)


def _server(name: str, *, first: bool, instances: int) -> int:
    """Returns the server's end of a pipe. With ``first``, raises PermissionError if the name is already in use."""
    mode = _winapi.PIPE_ACCESS_DUPLEX | _winapi.FILE_FLAG_OVERLAPPED
    if first:
        mode |= _winapi.FILE_FLAG_FIRST_PIPE_INSTANCE
    descriptor = ctypes.c_void_p()
    words = _ONLY.format(_user())
    _checked(
        _security.ConvertStringSecurityDescriptorToSecurityDescriptorW(
            words, _SDDL_REVISION, ctypes.byref(descriptor), None
        )
    )
    try:
        only = _SecurityAttributes(ctypes.sizeof(_SecurityAttributes), descriptor, False)
        kind = _BYTES | _REJECT_REMOTE_CLIENTS
        return _winapi.CreateNamedPipe(name, mode, kind, instances, CHUNK, CHUNK, 0, ctypes.addressof(only))
    finally:
        _kernel.LocalFree(descriptor)


def _name() -> str:
    return rf"\\.\pipe\treeguard-{secrets.token_hex(16)}"


def _client(server: int) -> int:
    """Returns the id of the process that opened the other end."""
    pid = wintypes.ULONG()
    _checked(_kernel.GetNamedPipeClientProcessId(wintypes.HANDLE(server), ctypes.byref(pid)))
    return pid.value


def _descriptor(handle: int) -> InheritedEnd:
    """Turns the handle into a descriptor of the C runtime, above the standard streams. Takes over the handle."""
    try:
        fd = msvcrt.open_osfhandle(handle, os.O_RDWR | os.O_NOINHERIT)
    except OSError:
        _winapi.CloseHandle(handle)
        raise
    low = []
    try:
        while fd < _STREAMS:
            low.append(fd)
            fd = os.dup(fd)
    finally:
        for each in low:
            os.close(each)
    return io.FileIO(fd, "r+")


def pair() -> tuple[End, InheritedEnd]:
    """Returns this side's end, and the end to be given away. Raises OSError.

    Windows does not report which process writes into a pipe. If a child passes its end on to another process, the
    messages of that process count as the child's.
    """
    name = _name()
    with contextlib.ExitStack() as undo:
        server = _server(name, first=True, instances=1)
        undo.callback(_winapi.CloseHandle, server)
        # The pipe has a single instance. If another process found the name and connected first, this call fails, and
        # that process is not served.
        given = _descriptor(opened(name))
        undo.pop_all()
    return End(server), given


class _Door(Waits):
    """A pipe that processes connect to. One instance always waits, so that no other process can take the name."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name
        try:
            self._handle, self._coming = self._instance(first=True)
        except BaseException:
            super().close()
            raise

    def _instance(self, *, first: bool) -> tuple[int, _winapi.Overlapped]:
        handle = _server(self._name, first=first, instances=_winapi.PIPE_UNLIMITED_INSTANCES)
        try:
            return handle, _winapi.ConnectNamedPipe(handle, overlapped=True)
        except BaseException:
            _winapi.CloseHandle(handle)
            raise

    def events(self) -> list[_winapi.Overlapped]:
        """See :meth:`Waits.events`."""
        return [self._coming]

    @property
    def reached(self) -> bool:
        """Whether a process has connected."""
        return has_ended(self._coming)

    def open(self) -> int:
        """Returns the connected instance, and waits with a new one. If it raises OSError, nothing has changed."""
        reached = self._handle
        self._handle, self._coming = self._instance(first=False)
        return reached

    def close(self) -> None:
        """See :meth:`Waits.close`."""
        cancel(self._coming)
        super().close()
        _winapi.CloseHandle(self._handle)


class Listener(BaseListener):
    """A listening named pipe."""

    def __init__(self) -> None:
        """Raises OSError. Nothing is left behind in that case."""
        self.address = _name()
        self._door: _Door | None = _Door(self.address)
        self._waiter: PollThread | None = None

    def listen(self, loop: asyncio.AbstractEventLoop, on_connection: Callable[[], None]) -> None:
        """See :meth:`BaseListener.listen`."""
        if self._door is not None and self._waiter is None:
            self._waiter = PollThread(self._door, "treeguard-listener")
            self._waiter.begin(loop, on_connection)

    def pause(self) -> None:
        """See :meth:`BaseListener.pause`."""
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.end()

    def accept(self, belongs: Callable[[int], bool]) -> Accepted | None:
        """See :meth:`BaseListener.accept`."""
        if self._door is None or not self._door.reached:
            return None
        reached = self._door.open()
        with contextlib.ExitStack() as undo:
            undo.callback(_winapi.CloseHandle, reached)
            try:
                os_pid = _client(reached)
            except OSError:
                return None
            if not belongs(os_pid):
                return Accepted(os_pid, None)
            undo.pop_all()
        return Accepted(os_pid, End(reached))

    def close(self) -> None:
        """See :meth:`BaseListener.close`."""
        self.pause()
        door, self._door = self._door, None
        if door is not None:
            door.close()
