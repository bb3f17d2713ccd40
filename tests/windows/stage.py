"""This checkout as Windows sees it: a copy of it with the compiled module of Windows in its package."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import build_ffi

from .world import CC, World, call

__all__ = ["PROGRAMS", "STAGE", "stage"]

ROOT = Path(__file__).parents[2]
STAGE = ROOT / "build" / "windows"
#: The tests' own programs, since there is no compiler inside.
PROGRAMS = STAGE / "programs"
_COPIED = ("treeguard", "tests", "docs", "examples", "csrc")
_FILES = ("pyproject.toml", "README.md", "build_ffi.py")
_IGNORED = shutil.ignore_patterns("__pycache__", "*.so", "*.pyd", "treeguard-guard", "_treeguard.c")
_WARNINGS = ("-Wall", "-Wextra", "-Werror")
#: The oldest Python whose stable ABI is used.
_ABI = "0x030A0000"


def stage(world: World) -> Path:
    """Copies it anew, and compiles what has changed."""
    for name in _COPIED:
        shutil.rmtree(STAGE / name, ignore_errors=True)
        shutil.copytree(ROOT / name, STAGE / name, ignore=_IGNORED)
    for name in _FILES:
        shutil.copy(ROOT / name, STAGE / name)
    # Hundreds of interpreters are started, and none of them writes what it has compiled. Tests of lib2to3 are wrong on
    # purpose.
    library = [STAGE / "treeguard", STAGE / "tests", world.python / "Lib"]
    call([sys.executable, "-m", "compileall", "-q", "-x", "lib2to3.tests", *library])
    _compile_extension(world)
    _compile_programs()
    return STAGE


def _compile_extension(world: World) -> None:
    emitted = STAGE / "_treeguard.c"
    build_ffi.builder("win32").emit_c_code(str(emitted))
    ours = [ROOT / source for source in build_ffi.core_sources("win32")]
    defines = [f"-D{name}={value}" for name, value in build_ffi.DEFINES_WINDOWS]
    objects = []
    for source in (emitted, *ours):
        target = STAGE / f"{source.stem}.o"
        # What cffi writes has its own warnings.
        strict = _WARNINGS if source is not emitted else ()
        includes: list[str | Path] = ["-I", ROOT / "csrc", "-I", world.include]
        _compile(["-O2", *strict, *defines, f"-DPy_LIMITED_API={_ABI}", *includes, "-c"], [source], target)
        objects.append(target)
    module = STAGE / "treeguard" / "_treeguard.pyd"
    call([CC, "-shared", *objects, "-L", world.lib, "-lpython3", "-o", module])


def _compile_programs() -> None:
    PROGRAMS.mkdir(exist_ok=True)
    for source in (ROOT / "tests" / "adversaries").glob("*_windows.c"):
        target = PROGRAMS / f"{source.stem.removesuffix('_windows')}.exe"
        _compile(["-O1", *_WARNINGS], [source], target)
    # Of Windows before 10 there is none to run on, so the core is built as if it were on one.
    core = [ROOT / source for source in build_ffi.core_sources("win32")]
    flags = [
        "-municode",
        "-DTG_WITHOUT_JOB_LIST=1",
        *(f"-D{name}={value}" for name, value in build_ffi.DEFINES_WINDOWS),
    ]
    sources = [ROOT / "tests" / "windows" / "suspended.c", *core]
    _compile(["-O1", *_WARNINGS, *flags, "-I", ROOT / "csrc"], sources, PROGRAMS / "suspended.exe")


def _compile(flags: Sequence[str | Path], sources: Sequence[Path], target: Path) -> None:
    """Unless that was done, by the same command, since something of it changed last."""
    command = [CC, *flags, *sources, "-o", target]
    note = target.with_name(f"{target.name}.command")
    words = " ".join(map(str, command))
    newest = max(each.stat().st_mtime for each in (*sources, *(ROOT / "csrc").rglob("*.h")))
    done = target.exists() and target.stat().st_mtime > newest and note.exists()
    if not (done and note.read_text(encoding="utf-8") == words):
        call(command)
        note.write_text(words, encoding="utf-8")
