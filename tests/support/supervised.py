"""The test's side of :mod:`tests.support.supervisor`."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType

from .adversary import Adversary

__all__ = ["Supervised"]

_ROOT = Path(__file__).parent.parent.parent


class Supervised:
    """A supervisor process with adversaries as its trees."""

    def __init__(
        self,
        adversaries: list[Adversary],
        *,
        containment: str,
        end: str,
        fork: str | None = None,
        thread: bool = False,
        held: bool = False,
        kept_global: bool = False,
    ) -> None:
        self._adversaries = adversaries
        self._config = {
            "containment": containment,
            "end": end,
            "fork": fork,
            "thread": thread,
            "held": held,
            "global": kept_global,
            "trees": [(one.argv, one.report_fd) for one in adversaries],
        }

    def __enter__(self) -> Supervised:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.supervisor"],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=[one.report_fd for one in self._adversaries],
            preexec_fn=_no_core,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(self._config), file=self._process.stdin, flush=True)
        told = self._process.stdout.readline()
        assert told, self._process.stderr and self._process.stderr.read()
        self.roots: list[int] = json.loads(told)["roots"]
        self.copy: int | None = json.loads(told)["copy"]
        for one in self._adversaries:
            one.wait_ready()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.copy is not None:
            os.kill(self.copy, signal.SIGKILL)  # of the supervisor, then ours by adoption: reaped by nobody else
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()

    @property
    def pid(self) -> int:
        """The supervisor's."""
        return self._process.pid

    def go(self) -> None:
        """Lets the supervisor come to its end."""
        assert self._process.stdin is not None
        print(file=self._process.stdin, flush=True)

    def wait(self) -> int:
        """Waits for the supervisor's own end. Returns its exit code, negative for a signal."""
        return self._process.wait()


def _no_core() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
