"""What this process has that a manager may leave behind, and a process that is no tree's."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator

from treeguard._core.cgroup.cgroups import own_cgroup

from .judge import children, descriptors

__all__ = ["belongings", "sleeping"]


def belongings() -> set[str]:
    """Descriptors, children, and the cgroups of managers of this process, each in words."""
    opened = {f"descriptor {fd}: {what}" for fd, what in descriptors().items()}
    family = {f"child {seen}" for seen in children().values()}
    try:
        cgroups = {path.name for path in own_cgroup().glob(f"treeguard.*.{os.getpid()}.*")}
    except FileNotFoundError:
        cgroups = set()
    return opened | family | cgroups


@contextlib.contextmanager
def sleeping() -> Iterator[subprocess.Popen[bytes]]:
    """A process that is no tree's."""
    process = subprocess.Popen(["sleep", "1000"])
    try:
        yield process
    finally:
        process.kill()
        process.wait()
