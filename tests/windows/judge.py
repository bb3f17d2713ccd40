"""The judge: looks at the system's own list of processes, and believes nothing else."""

from __future__ import annotations

import ctypes
import os
import sys
from ctypes import wintypes
from typing import Any, NamedTuple

from ..support.patience import wait_until

assert sys.platform == "win32"

__all__ = ["ProcessInfo", "alive", "children", "named", "processes", "put_down"]

_SNAP_PROCESSES = 0x2
_TERMINATE = 0x1
_SYNCHRONIZE = 0x100000
_ENDED = 0
#: Started on behalf of whoever first needs a console or looks for windows.
_OF_THE_SYSTEM = ("conhost.exe", "explorer.exe")

_kernel: Any = ctypes.WinDLL("kernel32", use_last_error=True)
_kernel.CreateToolhelp32Snapshot.restype = wintypes.HANDLE
_kernel.OpenProcess.restype = wintypes.HANDLE


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


class ProcessInfo(NamedTuple):
    """A process as the system lists it. The parent's number may be another process's by now."""

    pid: int
    parent: int
    name: str


def processes() -> list[ProcessInfo]:
    """All processes (CreateToolhelp32Snapshot)."""
    snapshot = wintypes.HANDLE(_kernel.CreateToolhelp32Snapshot(_SNAP_PROCESSES, 0))
    entry = _Entry(size=ctypes.sizeof(_Entry))
    found = []
    try:
        more = _kernel.Process32FirstW(snapshot, ctypes.byref(entry))
        while more:
            found.append(ProcessInfo(entry.pid, entry.parent, entry.name))
            more = _kernel.Process32NextW(snapshot, ctypes.byref(entry))
    finally:
        _kernel.CloseHandle(snapshot)
    return found


def children() -> dict[int, str]:
    """The processes whose parent this one is: their names, by number. For comparing: numbers are given away again."""
    own = os.getpid()
    return {seen.pid: seen.name for seen in processes() if seen.parent == own and seen.name not in _OF_THE_SYSTEM}


def alive(pid: int) -> bool:
    """Whether a process of that number runs."""
    handle = _kernel.OpenProcess(_SYNCHRONIZE, False, pid)
    if not handle:
        return False
    try:
        return bool(_kernel.WaitForSingleObject(wintypes.HANDLE(handle), 0) != _ENDED)
    finally:
        _kernel.CloseHandle(wintypes.HANDLE(handle))


def named(name: str) -> list[int]:
    """The processes that run a program of that name."""
    return [seen.pid for seen in processes() if seen.name == name]


def put_down(name: str) -> None:
    """Ends all of that name, until none is left."""

    def none_left() -> bool:
        found = named(name)
        for pid in found:
            handle = _kernel.OpenProcess(_TERMINATE, False, pid)
            if handle:
                _kernel.TerminateProcess(wintypes.HANDLE(handle), 1)
                _kernel.CloseHandle(wintypes.HANDLE(handle))
        return not found

    wait_until(none_left, f"{name} is put down")
