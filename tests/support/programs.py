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
#: Without libc on the machines that it has an assembly beginning for: thousands of it are started.
_BARE = ["-nostdlib", "-static", "-fno-pie", "-no-pie", "-fno-stack-protector"]


class Programs(NamedTuple):
    """Paths."""

    adversary: str
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
                _compile(_SOURCES / f"{Path(path).name}.c", path)
    return built


def _built_on_windows(directory: Path) -> Programs:
    """Those of them that there are for Windows."""
    brought = os.environ.get("TREEGUARD_TEST_PROGRAMS")
    paths = {name: str(Path(brought or directory) / f"{name}.exe") for name in ("adversary", "tiny")}
    for name, path in paths.items():
        if not brought:
            _compile(_SOURCES / f"{name}_windows.c", path)
    return Programs(**paths, liar="", witness="")


def _compile(source: Path, target: str) -> None:
    flags = [*_STRICT, *(_BARE if source.stem == "tiny" else [])]
    command = [os.environ.get("CC", "cc"), *flags, "-o", target, str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)} on {platform.machine()}:\n{done.stderr}"
