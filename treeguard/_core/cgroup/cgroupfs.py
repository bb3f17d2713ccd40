"""Writing to the files of a cgroup (cgroups(7))."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["write"]


def write(path: Path, text: str) -> None:
    """Writes to a file that the kernel has made; raises FileNotFoundError where it has made none of that name.

    Not by ``open(path, "w")``: that asks for the file to be created, which is answered by EACCES in a cgroup.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode("ascii"))
    finally:
        os.close(fd)
