"""The C programs of the tests, built once for all workers of a run, or brought along where there is no compiler."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

if sys.platform != "win32":
    import fcntl

__all__ = ["Programs", "build"]

_SOURCES = Path(__file__).parent.parent / "adversaries"
_STRICT = ["-O1", "-Wall", "-Wextra", "-Werror"]
#: Without libc, on the machines that they have an assembly beginning for: thousands of tiny are started, and the first
#: instruction of first counts.
_BARE = ["-nostdlib", "-static", "-fno-pie", "-no-pie", "-fno-stack-protector"]
_BARE_NAMES = ("first", "tiny")


class Programs(NamedTuple):
    """Paths."""

    adversary: str
    first: str
    hostile: str
    liar: str
    tiny: str
    witness: str


def build(directory: Path) -> Programs:
    """Builds into a directory that other workers may be building into as well."""
    if sys.platform == "win32":
        return _built_on_windows(directory)
    brought = os.environ.get("TREEGUARD_TEST_PROGRAMS")
    built = Programs(*(str(Path(brought or directory) / name) for name in Programs._fields))
    if brought:
        return built
    with (directory / "programs.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for path in built:
            if not Path(path).exists():
                _compile(_sources(Path(path).name), path)
    return built


def _built_on_windows(directory: Path) -> Programs:
    """The programs that exist for Windows."""
    brought = os.environ.get("TREEGUARD_TEST_PROGRAMS")
    paths = {name: str(Path(brought or directory) / f"{name}.exe") for name in ("adversary", "tiny")}
    for name, path in paths.items():
        if not brought:
            _compile([_SOURCES / f"{name}_windows.c"], path)
    return Programs(**paths, first="", hostile="", liar="", witness="")


def _sources(name: str) -> list[Path]:
    """A file, or all that are in a directory of that name."""
    directory = _SOURCES / name
    return sorted(directory.glob("*.c")) if directory.is_dir() else [directory.with_suffix(".c")]


def _compile(sources: list[Path], target: str) -> None:
    flags = [*_STRICT, *(_BARE if sources[0].stem in _BARE_NAMES else ["-pthread"])]
    command = [os.environ.get("CC", "cc"), *flags, "-o", target, *map(str, sources)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)} on {platform.machine()}:\n{done.stderr}"
