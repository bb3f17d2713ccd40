"""Facts about this Windows that treeguard depends on, found by asking the system."""

from __future__ import annotations

import ctypes
import getpass
import platform
import sys
from ctypes import wintypes
from typing import Any

import msgspec

assert sys.platform == "win32"

__all__ = ["Host", "Job", "facts", "inspect"]

_EXTENDED_LIMITS = 9
_BREAKAWAY_OK, _SILENT_BREAKAWAY_OK = 0x800, 0x1000
#: The functions that the C core calls and that are newer than jobs, or in no header, by library.
_CALLS = {
    "kernel32": ("InitializeProcThreadAttributeList", "GetQueuedCompletionStatusEx", "K32GetProcessMemoryInfo"),
    "ntdll": ("NtSuspendProcess", "NtResumeProcess"),
}

_kernel: Any = ctypes.WinDLL("kernel32", use_last_error=True)
_kernel.GetCurrentProcess.restype = wintypes.HANDLE


class Job(msgspec.Struct, frozen=True):
    """The job of this process itself. Trees' jobs are nested in it; its breakaway permission does not cover them."""

    inside: bool
    breakaway: bool = False


class Host(msgspec.Struct, frozen=True):
    """The facts about this host.

    ``wine``: the version of Wine, None on Windows itself. ``console``: whether this process has a console, which
    CTRL_BREAK needs. ``calls`` maps each function to None if it exists, otherwise to the reason.
    """

    system: str
    kernel: str
    machine: str
    python: str
    user: str
    elevated: bool
    wine: str | None
    console: bool
    job: Job
    calls: dict[str, str | None]


class _Limits(ctypes.Structure):
    """``JOBOBJECT_EXTENDED_LIMIT_INFORMATION``, used only for its flags."""

    _fields_ = (
        ("times", ctypes.c_int64 * 2),
        ("flags", wintypes.DWORD),
        ("working_set", ctypes.c_size_t * 2),
        ("processes", wintypes.DWORD),
        ("affinity", ctypes.c_size_t),
        ("classes", wintypes.DWORD * 2),
        ("input_and_output", ctypes.c_uint64 * 6),
        ("memory", ctypes.c_size_t * 4),
    )


def inspect() -> Host:
    """Collects the facts."""
    return Host(
        system=platform.system(),
        kernel=platform.version(),
        machine=platform.machine(),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        user=getpass.getuser(),
        elevated=bool(ctypes.windll.shell32.IsUserAnAdmin()),
        wine=_wine(),
        console=bool(_kernel.GetConsoleCP()),
        job=_job(),
        calls={name: _reason(library, name) for library, names in _CALLS.items() for name in names},
    )


def facts(here: Host) -> list[tuple[str, str]]:
    """The facts for people, each with a title of a word or two."""
    missing = [f"{name} ({reason})" for name, reason in here.calls.items() if reason]
    job = "none" if not here.job.inside else f"one, breakaway {'allowed' if here.job.breakaway else 'not allowed'}"
    return [
        ("user", f"{here.user}, {'elevated' if here.elevated else 'not elevated'}"),
        *([("Wine", f"{here.wine}: this is not Windows itself")] if here.wine else []),
        ("own job", job),
        ("console", "yes" if here.console else "no: CTRL_BREAK reaches nobody"),
        ("calls", ", ".join(name for name, reason in here.calls.items() if reason is None) or "none"),
        *([("  missing", ", ".join(missing))] if missing else []),
    ]


def _reason(library: str, name: str) -> str | None:
    return None if hasattr(ctypes.WinDLL(library), name) else f"not in {library}"


def _wine() -> str | None:
    version = getattr(ctypes.CDLL("ntdll"), "wine_get_version", None)
    if version is None:
        return None
    version.restype = ctypes.c_char_p
    return str(version().decode("ascii", "replace"))


def _job() -> Job:
    found, limits = wintypes.BOOL(), _Limits()
    process = wintypes.HANDLE(_kernel.GetCurrentProcess())
    if not _kernel.IsProcessInJob(process, None, ctypes.byref(found)) or not found.value:
        return Job(inside=False)
    # No job is named, so the call reports that of this process.
    size = ctypes.sizeof(limits)
    told = _kernel.QueryInformationJobObject(None, _EXTENDED_LIMITS, ctypes.byref(limits), size, None)
    return Job(inside=True, breakaway=bool(told and limits.flags & (_BREAKAWAY_OK | _SILENT_BREAKAWAY_OK)))
