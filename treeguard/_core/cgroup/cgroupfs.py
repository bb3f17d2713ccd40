"""Writing to the files of a cgroup (cgroups(7))."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["write"]


def write(path: Path, text: str) -> None:
    """Writes to a file that the kernel has made. Raises FileNotFoundError if the kernel has not made it.

    ``open(path, "w")`` does not serve here: it asks for the file to be created, and a cgroup answers with EACCES.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode("ascii"))
    finally:
        os.close(fd)
