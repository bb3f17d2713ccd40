"""The test's side of :mod:`tests.support.supervisor`."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol

from treeguard.types import Mechanism

__all__ = ["Supervised"]

_ROOT = Path(__file__).parent.parent.parent


class Tree(Protocol):
    """What a supervisor is told to spawn: an adversary, or an attacker."""

    @property
    def argv(self) -> list[str]: ...

    report_fd: int

    def wait_ready(self) -> None: ...


class Supervised:
    """A supervisor process with adversaries as its trees."""

    def __init__(
        self,
        adversaries: Sequence[Tree],
        *,
        containment: Mechanism,
        end: str,
        fork: str | None = None,
        thread: bool = False,
        held: bool = False,
        kept_global: bool = False,
        under: Sequence[str] = (),
        isolation: str = "none",
        session: bool = False,
        new_session: bool | None = None,
    ) -> None:
        """``under`` is a command that runs the supervisor: its own command line follows. It may lead a ``session``.

        ``new_session`` is of the adversaries.
        """
        self._adversaries = adversaries
        self._under = under
        self._session = session
        self._config = {
            "containment": containment,
            "isolation": isolation,
            "new_session": new_session,
            "end": end,
            "fork": fork,
            "thread": thread,
            "held": held,
            "global": kept_global,
            "trees": [(one.argv, one.report_fd) for one in adversaries],
        }

    def __enter__(self) -> Supervised:
        self.copy: int | None = None
        # A file, since the trees inherit it: a pipe's end of file would wait for those that must outlive this.
        self._errors = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            [*self._under, sys.executable, "-m", "tests.support.supervisor"],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            pass_fds=[one.report_fd for one in self._adversaries],
            preexec_fn=_no_core,
            start_new_session=self._session,
        )
        try:
            self._begin()
        except BaseException:
            self._close()
            raise
        return self

    def _begin(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(self._config), file=self._process.stdin, flush=True)
        told = self._process.stdout.readline()
        if not told:
            self._errors.seek(0)
            raise AssertionError(f"the supervisor could not spawn its trees:\n{self._errors.read()}")
        self.roots: list[int] = json.loads(told)["roots"]
        self.copy = json.loads(told)["copy"]
        for one in self._adversaries:
            one.wait_ready()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        if self.copy is not None:
            os.kill(self.copy, signal.SIGKILL)  # the supervisor's child, or adopted by us: reaped by nobody else
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):
                stream.close()

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
