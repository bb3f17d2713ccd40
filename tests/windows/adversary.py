"""Trees that do not want to be ended: see ``tests/adversaries/adversary_windows.c``."""

from __future__ import annotations

import os
import shutil
import threading
import uuid
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from treeguard import SpawnParams

from ..support.patience import until, wait_until
from ..support.programs import Programs
from . import judge

__all__ = ["KINDS", "Adversary", "Kind"]


class Kind(NamedTuple):
    """A sort of adversary: how many report, and how many of these stay; whether the root does."""

    reports: int
    stays: int
    root_stays: bool = True


KINDS: dict[str, Kind] = {
    "alone": Kind(1, 1),
    "family": Kind(3, 3),
    "wide": Kind(41, 41),
    "deep": Kind(11, 11),
    "fled": Kind(2, 1, root_stays=False),
    "detached": Kind(3, 2),
    "console": Kind(2, 2),
    "breakaway": Kind(2, 2),
    "nested": Kind(2, 2),
    "hydra": Kind(2, 2),
}


class Adversary:
    """One adversary. Leaving it puts down what a failed test left of it.

    All members run a copy of the program that has a name of its own, which is how they are known. They report on a
    pipe and keep it open: its end of file proves that they are gone.
    """

    def __init__(self, programs: Programs, kind: str) -> None:
        self.kind = KINDS[kind]
        self.name = kind
        source = Path(programs.adversary)
        self.program = source.with_name(f"{kind}-{uuid.uuid4().hex}{source.suffix}")
        shutil.copy(source, self.program)
        self._heard = b""
        self._over = threading.Event()

    def __enter__(self) -> Adversary:
        self._read, self.report_fd = os.pipe()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.spawned()
        judge.put_down(self.program.name)
        self._thread.join()
        os.close(self._read)
        self.program.unlink()

    def _listen(self) -> None:
        while data := os.read(self._read, 4096):
            self._heard += data
        self._over.set()

    def params(self) -> SpawnParams:
        """The parameters of its spawn."""
        return SpawnParams(
            program=str(self.program), args=(self.name, f"fd{self.report_fd}"), pass_fds=(self.report_fd,)
        )

    def spawned(self) -> None:
        """To be called after the spawn: lets go of the pipe's other end."""
        if self.report_fd >= 0:
            os.close(self.report_fd)
            self.report_fd = -1

    @property
    def said(self) -> str:
        """A letter of each member: M; R of one whose breaking away was refused, B where it was not; ! of a failure."""
        return self._heard.decode()

    def _in_place(self) -> bool:
        assert "!" not in self.said, "the host had no room for a member, or would not start it"
        members = len(judge.named(self.program.name))
        return len(self._heard) >= self.kind.reports and members >= self.kind.stays

    async def ready(self) -> None:
        """Waits until all members are in place."""
        self.spawned()
        await until(self._in_place, f"all of {self.name} are in place")

    def wait_ready(self) -> None:
        """The same without an event loop."""
        self.spawned()
        wait_until(self._in_place, f"all of {self.name} are in place")

    @property
    def traces(self) -> list[str]:
        """What is left of it now; nothing when it is gone."""
        return [
            *map(str, judge.named(self.program.name)),
            *([] if self._over.is_set() else ["somebody holds the pipe"]),
        ]
