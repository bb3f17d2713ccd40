"""Builds library, guard and extension for the systems that are not this one; C warnings are errors.

The compiler is zig's, from PyPI. What is built is not run here, but for musl: see docs/platforms.md.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import build_ffi  # noqa: E402 - the project's own, which is not installed

OUT = ROOT / "build" / "cross"
ZIG = [sys.executable, "-m", "ziglang", "cc"]
WARNINGS = [
    *("-Wall", "-Wextra", "-Werror", "-Wshadow", "-Wundef", "-Wvla", "-Wstrict-prototypes", "-Wmissing-prototypes"),
    *("-Wpointer-arith", "-Wcast-qual"),
]
MODULE = "treeguard._treeguard"


class Target(NamedTuple):
    """A system: its name for zig, ``sys.platform`` and ``platform.machine`` there; how library and module link."""

    triple: str
    platform: str
    machine: str
    whole: tuple[str, ...] = ("-shared", "-Wl,-z,defs")
    link: tuple[str, ...] = ("-shared",)


# macOS resolves what is the interpreter's when the module is loaded, as other systems always do.
_MACOS = (("-shared",), ("-shared", "-undefined", "dynamic_lookup"))
TARGETS = [
    Target("aarch64-macos.11.0", "darwin", "arm64", *_MACOS),
    Target("x86_64-macos.11.0", "darwin", "x86_64", *_MACOS),
    Target("x86_64-freebsd", "freebsd", "amd64"),
    Target("aarch64-linux-gnu.2.17", "linux", "aarch64"),
    Target("x86_64-linux-musl", "linux", "x86_64"),
    Target("aarch64-linux-musl", "linux", "aarch64"),
]


def run(*command: str) -> None:
    """Runs a compiler, whose words are the error."""
    subprocess.run(command, check=True, cwd=ROOT, timeout=900)


def compiled(cc: list[str], sources: list[str], out: Path, *flags: str) -> list[str]:
    """The object files of C sources, put into ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    defines = [f"-D{name}={value}" for name, value in build_ffi.DEFINES]
    objects = []
    for source in sources:
        # By the path, for files of different folders may have the same name.
        name = source if source.startswith("csrc/") else Path(source).name
        objects.append(str(out / f"{name.removeprefix('csrc/').replace('/', '_')}.o"))
        run(*cc, *build_ffi.CFLAGS, *defines, *flags, "-c", source, "-o", objects[-1])
    return objects


def headers() -> Path:
    """Those of this Python, copied. Debian's pyconfig.h asks for the target's own, so this machine's replaces it."""
    include = Path(sysconfig.get_paths()["include"])
    copy = OUT / "include"
    shutil.copytree(include, copy, dirs_exist_ok=True)
    debian = include.parent / str(sysconfig.get_config_var("MULTIARCH")) / include.name / "pyconfig.h"
    if debian.exists():
        shutil.copy(debian, copy)
    return copy


def build(target: Target, include: Path, out: Path) -> None:
    """Builds all three into ``out``."""
    cc = [*ZIG, "-target", target.triple]
    free = build_ffi.freestanding(target.platform, target.machine)
    # Without libc it is the same for all; static programs are what zig knows musl for.
    guard_cc = [*ZIG, "-target", f"{target.triple.partition('-')[0]}-linux-musl"] if free else cc
    flags, link = (build_ffi.FREESTANDING, build_ffi.FREESTANDING_LINK) if free else ([], [])
    guard = compiled(guard_cc, build_ffi.guard_sources(target.platform), out / "guard", *WARNINGS, *flags)
    run(*guard_cc, *link, *guard, "-o", str(out / "treeguard-guard"))
    library = compiled(cc, build_ffi.core_sources(target.platform), out / "library", *WARNINGS, "-fPIC")
    # By itself first: what a module takes from the interpreter would hide what the library lacks.
    run(*cc, *target.whole, *library, "-o", str(out / "libtreeguard.so"))
    trees = compiled(cc, ["tests/native/test_trees.c"], out, *WARNINGS)
    run(*cc, *trees, *library, "-o", str(out / "test_trees"))
    module = out / "module.c"
    build_ffi.builder(target.platform).emit_c_code(str(module))
    # What cffi writes is cffi's to keep clean; our warnings are not meant for it.
    python = ["-I", str(include), "-I", str(build_ffi.CSRC), "-DPy_LIMITED_API=0x030a0000"]
    glue = compiled(cc, [str(module)], out / "module", "-w", "-fPIC", *python)
    run(*cc, *target.link, *library, *glue, "-o", str(out / "_treeguard.abi3.so"))


def main() -> None:
    """Builds for all, or for those whose names begin as the arguments say."""
    include = headers()
    for target in TARGETS:
        if len(sys.argv) > 1 and not any(target.triple.startswith(name) for name in sys.argv[1:]):
            continue
        out = OUT / target.triple
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        build(target, include, out)
        built = (out / "treeguard-guard", out / "_treeguard.abi3.so")
        sizes = (f"{path.name} {path.stat().st_size:,}" for path in built)
        print(f"{target.triple:<24} {' · '.join(sizes)}", flush=True)
        if target.triple == "x86_64-linux-musl" and (sys.platform, platform.machine()) == ("linux", "x86_64"):
            # A Linux of this machine's kind: what is made for musl needs nothing else to run.
            run(str(out / "test_trees"), str(out / "treeguard-guard"))


main()
