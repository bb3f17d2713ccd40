"""The C programs of the tests, built once for all workers of a run, or brought along where there is no compiler."""

from __future__ import annotations

import fcntl
import os
import platform
import subprocess
from pathlib import Path
from typing import NamedTuple

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


def _compile(source: Path, target: str) -> None:
    flags = [*_STRICT, *(_BARE if source.stem == "tiny" else [])]
    command = [os.environ.get("CC", "cc"), *flags, "-o", target, str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)} on {platform.machine()}:\n{done.stderr}"
