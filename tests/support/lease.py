"""Programs whose exec takes as long as the test wants.

The kernel holds whoever opens a leased file until the lease is given up, or for the seconds of
``/proc/sys/fs/lease-break-time``.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from types import TracebackType

__all__ = ["Leased"]

# The holder is a process of its own, since the kernel tells it by SIGIO that somebody waits (fcntl(2), F_SETLEASE).
_HOLDER = """
import fcntl, os, signal, sys
signal.signal(signal.SIGIO, signal.SIG_IGN)
fd = os.open(sys.argv[1], os.O_RDONLY)
try:
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
except OSError as e:
    print(e, flush=True)
else:
    print("held", flush=True)
sys.stdin.read()
"""


class Leased:
    """A copy of a program under a lease. ``problem`` tells why this file system gives none."""

    def __init__(self, program: str, directory: Path) -> None:
        self.program = str(directory / "leased")
        shutil.copy(program, self.program)

    def __enter__(self) -> Leased:
        self._holder = subprocess.Popen(
            [sys.executable, "-c", _HOLDER, self.program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._holder.stdout is not None
        told = self._holder.stdout.readline().strip()
        self.problem = None if told == "held" else told
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def release(self) -> None:
        """Gives up the lease, so that a waiting exec continues."""
        self._holder.communicate()
