"""The compiled half: what cffi is told, and which C sources make the library and the guard.

The declarations are cut from ``csrc/treeguard.h``, so that header is the one source of truth.
"""

from __future__ import annotations

import sys
from pathlib import Path

from cffi import FFI

ROOT = Path(__file__).parent
CSRC = ROOT / "csrc"

#: Run between fork and exec, in library and guard alike.
SHARED = ["child", "child_linux", "launch_linux", "launch_fork", "text", "proc_linux"]
LIBRARY = [*SHARED, "engine", "lifeline", "queue_epoll", "tree", "guarded", "grouped", "start"]
GUARD = [*SHARED, "cgroup_linux", "sweep_linux", "watch_linux", "trial", "guard", "guard_start"]

DEFINES = [("_GNU_SOURCE", "1")]
CFLAGS = ["-std=gnu11", "-O2", "-fno-stack-protector", "-fvisibility=hidden"]

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


def cdef() -> str:
    """The marked part of the header."""
    text = (CSRC / "treeguard.h").read_text(encoding="utf-8")
    begin, end = "/* cdef: begin */", "/* cdef: end */"
    return text[text.index(begin) + len(begin) : text.index(end)]


def guard_command(cc: list[str], machine: str, output: str) -> list[str]:
    """The compiler's command line that builds the guard for ``machine`` (as ``platform.machine`` names it)."""
    defines = [f"-D{name}={value}" for name, value in DEFINES]
    free = FREESTANDING if machine in FREESTANDING_MACHINES else []
    return [*cc, *CFLAGS, *defines, *free, *sources(GUARD), "-o", output]


ffibuilder = FFI()
ffibuilder.cdef(cdef())
ffibuilder.set_source(
    "treeguard._treeguard",
    '#include "treeguard.h"',
    sources=sources(LIBRARY),
    include_dirs=["csrc"],
    depends=[f"csrc/{header.name}" for header in sorted(CSRC.glob("*.h"))],
    define_macros=DEFINES,
    extra_compile_args=CFLAGS,
)

if sys.platform != "linux":
    raise SystemExit("treeguard is built on Linux only, so far")
