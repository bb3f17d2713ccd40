"""Supervisors within each other's trees, the innermost with an adversary.

    python -m tests.support.nested

What it is to be stands in its environment as JSON, so that no marker shows in its own command line: the mechanisms from
here on down, and the adversary. Each supervisor prints a line with its process id.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from treeguard import LocalProcessManager, SpawnParams
from treeguard.types import Mechanism

from .adversary import Adversary
from .judge import look

__all__ = ["Nested"]

_ROOT = Path(__file__).parent.parent.parent
_VARIABLE = "TREEGUARD_TEST_NESTED"
_COMMAND = [sys.executable, "-m", "tests.support.nested"]


def _described(mechanisms: Sequence[str], argv: Sequence[str], fd: int, isolation: str) -> dict[str, str]:
    described = {"mechanisms": mechanisms, "argv": argv, "fd": fd, "isolation": isolation}
    return {_VARIABLE: json.dumps(described)}


class Nested:
    """A chain of supervisors, outermost first, one for each mechanism. Leaving it ends the outermost."""

    def __init__(self, mechanisms: Sequence[str], adversary: Adversary, isolation: str = "none") -> None:
        """Each of them isolates its trees so."""
        self._isolation = isolation
        self._mechanisms = mechanisms
        self._adversary = adversary

    def __enter__(self) -> Nested:
        adversary = self._adversary
        self._process = subprocess.Popen(
            _COMMAND,
            cwd=_ROOT,
            env={**os.environ, **_described(self._mechanisms, adversary.argv, adversary.report_fd, self._isolation)},
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=[adversary.report_fd],
        )
        try:
            assert self._process.stdout is not None
            #: Process ids.
            self.supervisors = [int(self._process.stdout.readline() or 0) for _ in self._mechanisms]
            assert all(self.supervisors), "all supervisors run"
            adversary.wait_ready()
            #: Of those that have one: of the supervisor within a tree its guard.
            self.guards = [seen.parent for pid in self.supervisors[1:] if (seen := look(pid)) is not None]
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


async def _supervise(mechanisms: list[Mechanism], argv: list[str], fd: int, isolation: Any) -> None:
    async with LocalProcessManager(containment=mechanisms[0], isolation=isolation) as manager:
        if mechanisms[1:]:
            program, *args = _COMMAND
            env = _described(mechanisms[1:], argv, fd, isolation)
        else:
            program, *args = argv
            env = {}
        child = await manager.spawn_child(SpawnParams(program, tuple(args), env=env, pass_fds=(fd,)))
        os.close(fd)
        print(os.getpid(), flush=True)
        await manager.wait_for_exit(child.pid)


def main() -> None:
    asked = json.loads(os.environ.pop(_VARIABLE))
    asyncio.run(_supervise(asked["mechanisms"], asked["argv"], asked["fd"], asked["isolation"]))


if __name__ == "__main__":
    main()
