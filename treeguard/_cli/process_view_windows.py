"""What Windows shows of processes, with the same interface as :mod:`treeguard._core.processes.procfs`.

An actor shows that it is in place by an event that is named after the marker and its process id. The event disappears
with the actor. The actor's name is the word after the marker on its command line.
"""

from __future__ import annotations

import ctypes
import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from ctypes import wintypes
from typing import Any, NamedTuple

assert sys.platform == "win32"

__all__ = ["WHERE", "ProcessInfo", "carries", "get_process", "has_escaped", "iter_pids", "kill_if"]

#: The source of the facts about processes, for messages.
WHERE = "the system's list of processes"

_SNAP_PROCESSES = 0x2
_TERMINATE, _VM_READ, _QUERY, _SYNCHRONIZE = 0x1, 0x10, 0x400, 0x100000
_TIMED_OUT = 0x102
_BASIC_INFORMATION = 0
_POINTER = ctypes.sizeof(ctypes.c_void_p)
#: The offsets of the parameters in the process environment block, and of the command line in these (winternl.h).
_PARAMETERS = 4 * _POINTER
_COMMAND_LINE = 0x70 if _POINTER == 8 else 0x40
_UNKNOWN = ""

_kernel: Any = ctypes.WinDLL("kernel32", use_last_error=True)
_native: Any = ctypes.WinDLL("ntdll")
for _call in ("CreateToolhelp32Snapshot", "OpenProcess", "OpenEventW"):
    getattr(_kernel, _call).restype = wintypes.HANDLE


class _Entry(ctypes.Structure):
    """``PROCESSENTRY32W``."""

    _fields_ = (
        ("size", wintypes.DWORD),
        ("usage", wintypes.DWORD),
        ("pid", wintypes.DWORD),
        ("heap", ctypes.c_size_t),
        ("module", wintypes.DWORD),
        ("threads", wintypes.DWORD),
        ("parent", wintypes.DWORD),
        ("priority", wintypes.LONG),
        ("flags", wintypes.DWORD),
        ("name", wintypes.WCHAR * 260),
    )


class _Text(ctypes.Structure):
    """``UNICODE_STRING`` in another process's memory."""

    _fields_ = (("length", wintypes.USHORT), ("room", wintypes.USHORT), ("place", ctypes.c_size_t))


class ProcessInfo(NamedTuple):
    """A process as it was seen. Its number and its start identify it. ``name`` is an actor's name, or empty."""

    pid: int
    name: str
    parent: int
    started: int
    alive: bool = True
    stopped: bool = False


class _Handle:
    """A process that is held open. It counts as not alive if it could not be opened."""

    def __init__(self, pid: int, access: int) -> None:
        self.value = wintypes.HANDLE(_kernel.OpenProcess(access | _SYNCHRONIZE, False, pid))

    def __enter__(self) -> _Handle:
        return self

    def __exit__(self, *_: object) -> None:
        if self.value.value:
            _kernel.CloseHandle(self.value)

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return bool(self.value.value) and _kernel.WaitForSingleObject(self.value, 0) == _TIMED_OUT

    @property
    def started(self) -> int:
        """The start time, in units of 100 ns."""
        times = [wintypes.FILETIME() for _ in range(4)]
        _kernel.GetProcessTimes(self.value, *map(ctypes.byref, times))
        return int(times[0].dwHighDateTime << 32 | times[0].dwLowDateTime)

    @property
    def command_line(self) -> str:
        """The command line in the process's own memory; empty if that cannot be read."""
        basic = (ctypes.c_size_t * 6)()
        if _native.NtQueryInformationProcess(self.value, _BASIC_INFORMATION, basic, ctypes.sizeof(basic), None):
            return ""
        parameters = ctypes.c_size_t.from_buffer_copy(self._read(basic[1] + _PARAMETERS, _POINTER)).value
        text = _Text.from_buffer_copy(self._read(parameters + _COMMAND_LINE, ctypes.sizeof(_Text)))
        return self._read(text.place, text.length).decode("utf-16-le", "replace")

    def _read(self, place: int, size: int) -> bytes:
        data = ctypes.create_string_buffer(size)
        _kernel.ReadProcessMemory(self.value, ctypes.c_void_p(place), data, ctypes.c_size_t(size), None)
        return data.raw


def _listed() -> Iterator[tuple[int, int]]:
    """The numbers of all processes and of their parents."""
    snapshot = wintypes.HANDLE(_kernel.CreateToolhelp32Snapshot(_SNAP_PROCESSES, 0))
    entry = _Entry(size=ctypes.sizeof(_Entry))
    try:
        more = _kernel.Process32FirstW(snapshot, ctypes.byref(entry))
        while more:
            yield entry.pid, entry.parent
            more = _kernel.Process32NextW(snapshot, ctypes.byref(entry))
    finally:
        _kernel.CloseHandle(snapshot)


def iter_pids() -> Iterator[int]:
    """The numbers of all processes."""
    return (pid for pid, _ in _listed())


def _words(pid: int) -> list[str]:
    with _Handle(pid, _QUERY | _VM_READ) as handle:
        return handle.command_line.split() if handle.alive else []


def carries(pid: int, marker: str) -> bool:
    """Whether a process has the marker among its arguments."""
    return marker in _words(pid)


def get_process(pid: int) -> ProcessInfo | None:
    """The process of that number; None if it is not alive."""
    words = _words(pid)
    parent = dict(_listed()).get(pid)
    with _Handle(pid, _QUERY) as handle:
        if parent is None or not handle.alive:
            return None
        return ProcessInfo(pid, _name(pid, words), parent, handle.started)


def _name(pid: int, words: list[str]) -> str:
    for marker, name in itertools.pairwise(words):
        event = wintypes.HANDLE(_kernel.OpenEventW(_SYNCHRONIZE, False, f"Local\\{marker}-{pid}"))
        if event.value:
            _kernel.CloseHandle(event)
            return name
    return _UNKNOWN


def has_escaped(daemon: ProcessInfo, others: Sequence[ProcessInfo]) -> bool:
    """Whether the process that started it is gone. On Windows a console or a process group ties nothing together."""
    return daemon.parent not in {seen.pid for seen in others} and get_process(daemon.parent) is None


def kill_if(pid: int, meant: Callable[[], bool]) -> bool:
    """Ends the process of that number if it is the one ``meant``. Returns whether it was, and could be ended."""
    with _Handle(pid, _TERMINATE) as handle:
        return handle.alive and meant() and bool(_kernel.TerminateProcess(handle.value, 1))
