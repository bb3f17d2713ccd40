"""The programs of the benchmarks, built below ``build/bench``."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import build_ffi

__all__ = ["Built", "build", "build_target"]

_HERE = Path(__file__).parent
_ROOT = _HERE.parent
_OUT = _ROOT / "build" / "bench"
_BARE = ["-ffreestanding", "-fno-pie", "-no-pie", "-static", "-nostdlib", "-fno-stack-protector"]


class Built(NamedTuple):
    """Paths; ``peer`` is None where Rust is absent, for the reason in ``why``."""

    target: str
    floor: str
    peer: str | None
    why: str


def build_target() -> str:
    """The program that is started."""
    return _compile("target", [*_BARE, str(_HERE / "native" / "target.c")])


def build() -> Built:
    """Everything."""
    sources = [str(_ROOT / source) for source in build_ffi.core_sources()]
    floor = _compile("floor", ["-D_GNU_SOURCE", str(_HERE / "native" / "floor.c"), *sources])
    peer, why = _build_peer()
    return Built(build_target(), floor, peer, why)


def _compile(name: str, arguments: list[str]) -> str:
    _OUT.mkdir(parents=True, exist_ok=True)
    target = _OUT / name
    subprocess.run([os.environ.get("CC", "cc"), "-O2", "-o", str(target), *arguments], check=True)
    return str(target)


def _build_peer() -> tuple[str | None, str]:
    if shutil.which("cargo") is None:
        return None, "no cargo"
    # Its configuration, which replaces the network by Debian's packages, is found from the directory.
    command = ["cargo", "build", "--quiet", "--release", "--offline", "--target-dir", str(_OUT / "rust")]
    done = subprocess.run(command, cwd=_HERE / "rust", capture_output=True, text=True, check=False)
    if done.returncode:
        return None, "librust-tokio-dev: " + (done.stderr.strip().splitlines() or ["cargo failed"])[-1]
    return str(_OUT / "rust" / "release" / "peer"), ""
