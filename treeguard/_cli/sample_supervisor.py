"""Putting processes on stage, to be looked at: a tree of actors, and a supervisor with such a tree."""

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
from ..types import ChildHandle, ChildKind
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

#: What this system has: actors that stay or escape, by what is tried with them; whether somebody adopts orphans; what
#: an escapee sheds; and how one is asked to end, and made to.
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
    """Starts an actor; see :mod:`treeguard._cli.sample_programs` for what it may be told."""
    args = ("-I", "-S", _ACTORS, marker, name, *parts)
    return await manager.spawn_child(SpawnParams(args=args, kind=kind, stdout="null", pass_fds=tuple(pass_fds)))


def watched(child: ChildHandle) -> Callable[[], bool]:
    """What tells whether an actor has ended."""

    def ended() -> bool:
        seen = get_process(child.os_pid)
        return seen is None or not seen.alive

    return ended


class Supervisor:
    """Another process that uses treeguard and owns a tree of actors, until it is killed. A context manager."""

    def __init__(self, mechanism: str, marker: str, name: str, *parts: str) -> None:
        # It finds treeguard where this process found it, whatever lies in the current directory.
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
        """SIGKILL."""
        self._process.kill()

    def ended(self) -> bool:
        """Whether it has, by now."""
        return self._process.poll() is not None

    def check_killed(self) -> None:
        """Raises StagingError if it has ended in any other way: one that leaves in order ends its tree itself."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            if self._process.wait(_LEAVE_PATIENCE) == _KILLED:
                return
        raise StagingError("the supervisor was to be killed, and had left by itself")


def supervise(mechanism: str, marker: str, name: str, *parts: str) -> None:
    """Owns a tree of actors until standard input ends, as it does when whoever wanted that is gone."""

    async def own() -> None:
        async with LocalProcessManager(containment=mechanism) as manager:
            await perform(manager, marker, name, *parts)
            # Blocks the loop, as a busy application might: its tree must not depend on it.
            os.read(0, 1)

    try:
        asyncio.run(own())
    except (TreeguardError, OSError) as error:
        sys.exit(f"{name}: {error}")
