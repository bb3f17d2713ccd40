"""The compiled half: what cffi is told, and which C sources make the library and the guard.

The declarations are cut from ``csrc/treeguard.h``, so that header is the one source of truth.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from cffi import FFI

ROOT = Path(__file__).parent
CSRC = ROOT / "csrc"

#: Run between fork and exec, in library and guard alike.
SHARED = ["child", "child_linux", "launch_linux", "launch_fork", "text", "proc_linux"]
LIBRARY = [*SHARED, "engine", "lifeline", "queue_epoll", "tree", "guarded", "grouped", "start"]
WINDOWS = [f"{name}_windows" for name in ("engine", "tree", "start", "inherit", "job", "ask", "fault")]
GUARD = [*SHARED, "cgroup_linux", "sweep_linux", "watch_linux", "trial", "guard", "guard_start"]

DEFINES = [("_GNU_SOURCE", "1")]
CFLAGS = ["-std=gnu11", "-O2", "-fno-stack-protector", "-fvisibility=hidden"]
#: Windows 10 is the oldest that is declared, for MSVC and mingw-w64 alike.
DEFINES_WINDOWS = [("_WIN32_WINNT", "0x0A00"), ("UNICODE", "1")]
CFLAGS_MSVC = ["/std:c11", "/O2", "/W3"]

#: A guard without libc starts in a tenth of the time. The compiler's own additions that need libc are turned off.
FREESTANDING = [
    *("-ffreestanding", "-fno-builtin", "-fno-pic", "-fno-pie", "-no-pie", "-static", "-nostdlib", "-nostartfiles"),
    *("-fno-asynchronous-unwind-tables", "-fno-unwind-tables", "-fno-tree-loop-distribute-patterns"),
    *("-Wl,--build-id=none", "-Wl,-z,noseparate-code", "-Wl,-z,norelro", "-Wl,-z,noexecstack", "-s"),
]
FREESTANDING_MACHINES = ("x86_64", "aarch64")


def sources(names: list[str]) -> list[str]:
    """Paths of C sources, relative to the project, as setuptools wants them."""
    return [f"csrc/{name}.c" for name in names]


def cdef(platform: str = sys.platform) -> str:
    """The marked parts of the header: what all systems have, and what this one has."""
    text = (CSRC / "treeguard.h").read_text(encoding="utf-8")
    parts = re.findall(r"/\* cdef: begin(?: (\w+))? \*/(.*?)/\* cdef: end \*/", text, re.DOTALL)
    family = "win32" if platform == "win32" else "posix"
    return "".join(part for of, part in parts if of in ("", family))


def guard_command(cc: list[str], machine: str, output: str) -> list[str]:
    """The compiler's command line that builds the guard for ``machine`` (as ``platform.machine`` names it)."""
    defines = [f"-D{name}={value}" for name, value in DEFINES]
    free = FREESTANDING if machine in FREESTANDING_MACHINES else []
    return [*cc, *CFLAGS, *defines, *free, *sources(GUARD), "-o", output]


def builder(platform: str = sys.platform) -> FFI:
    """What builds the extension."""
    windows = platform == "win32"
    ffi = FFI()
    ffi.cdef(cdef(platform))
    ffi.set_source(
        "treeguard._treeguard",
        '#include "treeguard.h"',
        sources=sources(WINDOWS if windows else LIBRARY),
        include_dirs=["csrc"],
        depends=[f"csrc/{header.name}" for header in sorted(CSRC.glob("*.h"))],
        define_macros=DEFINES_WINDOWS if windows else DEFINES,
        extra_compile_args=CFLAGS_MSVC if windows else CFLAGS,
    )
    return ffi


ffibuilder = builder()

if sys.platform not in ("linux", "win32"):
    raise SystemExit("treeguard is built on Linux and Windows only, so far")
