"""Starting processes to look at: a tree of actors, and a supervisor with such a tree."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ..errors import TreeguardError
from ..local import LocalProcessManager
from ..manager import ProcessManager
from ..params import SpawnParams
from ..types import ChildHandle, ChildKind, Mechanism
from .marked_processes import StagingError, get_process

if sys.platform == "win32":
    from .sample_programs_windows import LIFE
else:
    from .sample_programs import LIFE

__all__ = [
    "ADOPTS",
    "ESCAPEES",
    "FORCE",
    "GENTLE",
    "KINDS",
    "LIFE",
    "SHED",
    "Supervisor",
    "perform",
    "supervise",
    "watched",
]

#: The properties of this system: the actors that stay or escape, by experiment; whether orphans are adopted; what an
#: escapee sheds; and how a process is asked or forced to end.
if sys.platform == "win32":
    _ACTORS = str(Path(__file__).with_name("sample_programs_windows.py"))
    KINDS = {"same console": "worker", "new console": "console", "breakaway": "breakaway", "daemon": "daemon"}
    ADOPTS = False
    SHED, GENTLE, FORCE = "console or parent", "CTRL_BREAK", "TerminateProcess"
    _KILLED = 1
else:
    _ACTORS = str(Path(__file__).with_name("sample_programs.py"))
    KINDS = {"same group": "worker", "new session": "session", "daemon": "daemon", "stopped": "stopped"}
    ADOPTS = True
    SHED, GENTLE, FORCE = "session, parent or environment", "SIGTERM", "SIGKILL"
    _KILLED = -signal.SIGKILL
ESCAPEES = tuple(KINDS.values())
_LEAVE_PATIENCE = 5.0


async def perform(
    manager: ProcessManager,
    marker: str,
    name: str,
    *parts: str,
    kind: str = ChildKind.RUNTIME,
    pass_fds: Sequence[int] = (),
) -> ChildHandle:
    """Starts an actor; see :mod:`treeguard._cli.sample_programs` for its parts."""
    args = ("-I", "-S", _ACTORS, marker, name, *parts)
    return await manager.spawn_child(SpawnParams(args=args, kind=kind, stdout="null", pass_fds=tuple(pass_fds)))


def watched(child: ChildHandle) -> Callable[[], bool]:
    """A function that returns whether an actor has ended."""

    def ended() -> bool:
        seen = get_process(child.os_pid)
        return seen is None or not seen.alive

    return ended


class Supervisor:
    """Another process that uses treeguard and owns a tree of actors until it is killed. A context manager."""

    def __init__(self, mechanism: str, marker: str, name: str, *parts: str) -> None:
        # It must find treeguard where this process found it, regardless of the current directory.
        code = (
            f"import sys; sys.path[:] = {sys.path!r}; "
            f"from treeguard._cli.sample_supervisor import supervise; supervise{(mechanism, marker, name, *parts)!r}"
        )
        self._process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_LEAVE_PATIENCE)
        self._process.kill()
        self._process.wait()

    def kill(self) -> None:
        """Kills the supervisor, with SIGKILL on POSIX systems."""
        self._process.kill()

    def ended(self) -> bool:
        """Whether the supervisor has ended."""
        return self._process.poll() is not None

    def check_killed(self) -> None:
        """Raises StagingError unless it was killed: a supervisor that exits in order ends its tree itself."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            if self._process.wait(_LEAVE_PATIENCE) == _KILLED:
                return
        raise StagingError("the supervisor had ended before it was killed")


def supervise(mechanism: Mechanism, marker: str, name: str, *parts: str) -> None:
    """Owns a tree of actors until standard input ends, which also happens when the parent is gone."""

    async def own() -> None:
        async with LocalProcessManager(containment=mechanism) as manager:
            await perform(manager, marker, name, *parts)
            # This blocks the loop, as a busy application might. The tree must not depend on the loop.
            os.read(0, 1)

    try:
        asyncio.run(own())
    except (TreeguardError, OSError) as error:
        sys.exit(f"{name}: {error}")
