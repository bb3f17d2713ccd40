"""A root that attacks its guard or its supervisor, and what becomes of them: see :mod:`tests.support.attacks`."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import uuid
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from . import judge
from .patience import LIFETIME, PATIENCE, wait_until

__all__ = ["Attacker", "Told", "condition", "wait_for"]


class Told(NamedTuple):
    """The result of an attack, as the attacker sees it, with its process ids: ``OK`` or the name of an errno."""

    name: str
    said: str
    victim: int
    guard: int


def condition(pid: int) -> str:
    """``gone``, ``traced``, ``stopped`` or ``runs``."""
    try:
        text = Path(f"/proc/{pid}/status").read_text("utf-8", "replace")
    except OSError:
        return "gone"
    fields = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
    if fields["TracerPid"] != "0":
        return "traced"
    return {"Z": "gone", "X": "gone", "T": "stopped"}.get(fields["State"][0], "runs")


class Attacker:
    """A tree for :class:`tests.support.supervised.Supervised`. Leaving it ends it, and lets its guard go on."""

    def __init__(self, victim: str, attacks: Iterable[str]) -> None:
        self.marker = f"treeguard-test-{uuid.uuid4().hex}"
        self._victim = victim
        self._attacks = list(attacks)
        self._guard: int | None = None
        self._first: Told | None = None
        self._unread = b""

    def __enter__(self) -> Attacker:
        self._read, self.report_fd = os.pipe()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._let_go()
        os.close(self._read)
        judge.put_down(self.marker)
        if self._guard is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._guard, signal.SIGCONT)
            os.close(self._guard)

    @property
    def argv(self) -> list[str]:
        """The command line, program first. The child must inherit :attr:`report_fd`."""
        arguments = (self.marker, str(self.report_fd), str(LIFETIME), self._victim, json.dumps(self._attacks))
        return [sys.executable, "-m", "tests.support.attacks", *arguments]

    def wait_ready(self) -> None:
        """Waits until the first attack was made."""
        self._let_go()
        self._first = self._next()
        self._guard = os.pidfd_open(self.guard)

    def told(self) -> Iterable[Told]:
        """Yields the result of each attack. The next attack begins when the next result is asked for."""
        assert self._first is not None
        told = self._first
        for name in self._attacks:
            assert told.name == name
            yield told
            if name != self._attacks[-1]:
                self.go_on()
                told = self._next()

    def go_on(self) -> None:
        """Lets it make its next attack; after the last, that one over and over."""
        os.kill(self.pid, signal.SIGUSR1)

    @property
    def pid(self) -> int:
        """The attacker's own process id."""
        return judge.carriers(self.marker)[0]

    @property
    def guard(self) -> int:
        """That of its guard."""
        seen = judge.look(self.pid)
        assert seen is not None
        return seen.parent

    @property
    def is_gone(self) -> bool:
        """Whether nothing of it is left."""
        return not judge.carriers(self.marker)

    def wait_gone(self) -> None:
        """Waits until nothing of it is left, for ends that nobody reports."""
        judge.wait_until_gone(self.marker)

    def _let_go(self) -> None:
        if self.report_fd >= 0:
            os.close(self.report_fd)
            self.report_fd = -1

    def _next(self) -> Told:
        while b"\n" not in self._unread:
            assert select.select([self._read], [], [], PATIENCE)[0], f"{self._attacks} are told of"
            piece = os.read(self._read, 65536)
            assert piece, f"the attacker ended; it said {self._unread!r}"
            self._unread += piece
        line, _, self._unread = self._unread.partition(b"\n")
        return Told(**json.loads(line))


def wait_for(pid: int, wanted: str) -> None:
    """Waits until a process is in a condition."""
    wait_until(lambda: condition(pid) == wanted, f"{pid} is {wanted}")
