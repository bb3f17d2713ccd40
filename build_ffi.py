"""The compiled half: what cffi is told, and which C sources make the core and the guard.

The declarations are cut from ``csrc/treeguard.h``, so that header is the one source of truth.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import NamedTuple

from cffi import FFI

ROOT = Path(__file__).parent
CSRC = ROOT / "csrc"

#: What all POSIX systems share: between fork and exec, in the core, in the guard.
SHARED = ["child", "attributes", "handover", "launch_fork"]
CORE = [*SHARED, "above_stdio", "engine", "lifeline", "tree", "tree_guard", "tree_pgrp", "start", "find", "pty", "kept"]
GUARD = [
    *(*SHARED, "trial", "stops", "guard", "guard_release", "guard_report", "guard_root"),
    *("guard_shown", "guard_sweep", "guard_start"),
]


class Own(NamedTuple):
    """What a system has of its own: for core and guard, for the core, for the guard."""

    both: list[str]
    core: list[str]
    guard: list[str]


#: What macOS and FreeBSD share, for core and guard.
BSD = [f"bsd/{name}" for name in ("child", "attributes", "launch", "isolation", "proc", "asking", "rights")]

#: By ``sys.platform``, without a version.
OWN = {
    "linux": Own(
        [
            f"linux/{name}"
            for name in ("child", "attributes", "isolation", "launch", "text", "proc", "asking", "rights")
        ],
        [f"linux/{name}" for name in ("queue", "identity", "leaf", "processes", "chase", "alone", "release")],
        [
            f"linux/{name}"
            for name in ("cgroup", "cgroup_below", "freezer", "sweep", "watch", "relay", "rendezvous", "namespace")
        ],
    ),
    "darwin": Own(
        [*BSD, "darwin/child", "darwin/launch"],
        ["bsd/queue", "bsd/identity", "bsd/leaf"],
        ["bsd/cgroup", "bsd/watch", "bsd/relay", "bsd/rendezvous", "bsd/namespace", "darwin/sweep"],
    ),
    "freebsd": Own(
        [*BSD, "freebsd/child", "freebsd/launch"],
        ["bsd/queue", "bsd/identity", "bsd/leaf"],
        ["bsd/cgroup", "bsd/watch", "bsd/relay", "bsd/rendezvous", "bsd/namespace", "freebsd/sweep"],
    ),
}
WINDOWS = [
    *(f"windows/{name}" for name in ("engine", "tree", "start", "inherit", "inside", "job", "limits", "ask", "fault")),
    "kept",
]

PLATFORM = sys.platform.rstrip("0123456789") if sys.platform.startswith("freebsd") else sys.platform

DEFINES = [("_GNU_SOURCE", "1")]
CFLAGS = ["-std=gnu11", "-O2", "-fno-stack-protector", "-fvisibility=hidden"]
#: Windows 10 is the oldest that is declared, for MSVC and mingw-w64 alike.
DEFINES_WINDOWS = [("_WIN32_WINNT", "0x0A00"), ("UNICODE", "1")]
CFLAGS_MSVC = ["/std:c11", "/O2", "/W3"]

#: A guard without libc starts in a tenth of the time. The compiler's own additions that need libc are turned off.
FREESTANDING = [
    *("-ffreestanding", "-fno-builtin", "-fno-pic", "-fno-pie"),
    *("-fno-asynchronous-unwind-tables", "-fno-unwind-tables"),
]
FREESTANDING_LINK = [
    *("-no-pie", "-static", "-nostdlib"),
    *("-Wl,--build-id=none", "-Wl,-z,norelro", "-Wl,-z,noexecstack", "-s"),
]
#: Else gcc makes of a loop a call of memset, and GNU's linker pads to whole pages. Others don't, nor know the words.
FREESTANDING_GNU = ["-fno-tree-loop-distribute-patterns", "-Wl,-z,noseparate-code"]
FREESTANDING_MACHINES = ("x86_64", "aarch64")


def sources(names: list[str]) -> list[str]:
    """Paths of C sources, relative to the project, as setuptools wants them."""
    return [f"csrc/{name}.c" for name in names]


def cdef(platform: str = PLATFORM) -> str:
    """The marked parts of the header: what all systems have, and what this one has."""
    text = (CSRC / "treeguard.h").read_text(encoding="utf-8")
    parts = re.findall(r"/\* cdef: begin(?: (\w+))? \*/(.*?)/\* cdef: end \*/", text, re.DOTALL)
    families = {"win32": ("win32",), "linux": ("posix", "linux")}.get(platform, ("posix", "bsd"))
    return "".join(part for of, part in parts if of in ("", *families))


def core_sources(platform: str = PLATFORM) -> list[str]:
    """The sources of the core."""
    if platform == "win32":
        return sources(WINDOWS)
    own = OWN[platform]
    return sources([*CORE, *own.both, *own.core])


def guard_sources(platform: str = PLATFORM) -> list[str]:
    """The sources of the guard."""
    own = OWN[platform]
    return sources([*GUARD, *own.both, *own.guard])


def freestanding(platform: str, machine: str) -> bool:
    """Whether the guard does without libc on a ``machine`` (as ``platform.machine`` names it)."""
    return platform == "linux" and machine in FREESTANDING_MACHINES


def guard_command(cc: list[str], machine: str, output: str) -> list[str]:
    """The compiler's command line that builds the guard for this system."""
    defines = [f"-D{name}={value}" for name, value in DEFINES]
    free = [*FREESTANDING, *FREESTANDING_LINK, *FREESTANDING_GNU] if freestanding(PLATFORM, machine) else []
    return [*cc, *CFLAGS, *defines, *free, *guard_sources(), "-o", output]


def builder(platform: str = PLATFORM) -> FFI:
    """What builds the extension."""
    windows = platform == "win32"
    ffi = FFI()
    ffi.cdef(cdef(platform))
    ffi.set_source(
        "treeguard._treeguard",
        '#include "treeguard.h"',
        sources=core_sources(platform),
        include_dirs=["csrc"],
        depends=[header.relative_to(ROOT).as_posix() for header in sorted(CSRC.rglob("*.h"))],
        define_macros=DEFINES_WINDOWS if windows else DEFINES,
        extra_compile_args=CFLAGS_MSVC if windows else CFLAGS,
    )
    return ffi


if PLATFORM != "win32" and PLATFORM not in OWN:
    raise SystemExit(f"treeguard is built on {', '.join(OWN)} and win32, not on {sys.platform}")

ffibuilder = builder()
