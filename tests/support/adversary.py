"""Trees that do not want to be ended, for tests to spawn: see ``tests/adversaries/adversary.c``."""

from __future__ import annotations

import os
import uuid
from types import TracebackType
from typing import NamedTuple

from treeguard import SpawnParams

from . import judge
from .patience import LIFETIME, until, wait_until
from .plans import Plan
from .programs import Programs

__all__ = ["KINDS", "Adversary", "Kind"]


class Kind(NamedTuple):
    """A kind of adversary: how many processes report, whether all stay, and whether some leave the root's group."""

    size: int
    members: int
    escapes: bool
    steady: bool = True
    root_stays: bool = True


def _zoo(size: int) -> int:
    """Every kind's members, and the keeper. The one that fled reports once."""
    family, session, daemon, fled = 4, 1 + (size + 1), 2, 1
    deaf = wide = groups = deep = stopped = 1 + size
    reaper, husk, hydra = 2 + 2 * size, 5, 2
    return 1 + family + session + daemon + fled + deaf + wide + groups + deep + stopped + reaper + husk + hydra


KINDS: dict[str, Kind] = {
    "alone": Kind(0, 1, escapes=False),
    "family": Kind(1, 4, escapes=False),
    "session": Kind(1, 3, escapes=True),
    "daemon": Kind(0, 2, escapes=True),
    "fled": Kind(0, 1, escapes=True, root_stays=False),
    "deaf": Kind(2, 3, escapes=False),
    "wide": Kind(400, 401, escapes=False),
    "groups": Kind(100, 101, escapes=True),
    "deep": Kind(60, 61, escapes=True),
    "stopped": Kind(4, 5, escapes=True),
    "reaper": Kind(3, 8, escapes=True),
    "husk": Kind(1, 5, escapes=True),
    "hydra": Kind(2, 3, escapes=True, steady=False),
    "swarm": Kind(2, 3, escapes=False, steady=False),
    "zoo": Kind(4, _zoo(4), escapes=True, steady=False),
}


def _grown(plan: Plan) -> Kind:
    nodes = list(plan.nodes())
    return Kind(
        plan.size,
        plan.size,
        escapes=any(node.stays and not node.in_group for node in nodes),
        steady=all(node.stays for node in nodes),
        root_stays=nodes[0].stays,
    )


class Adversary:
    """One adversary. Leaving it puts down what a failed test left of it.

    Its members report on a pipe, and all but daemons keep it open: its end of file proves that they are gone, also
    of those that come and go too fast for a look at ``/proc``.
    """

    def __init__(self, programs: Programs, kind: str | Plan, *, life: float = LIFETIME) -> None:
        """``kind`` is one of those known by name, or the plan of one."""
        if isinstance(kind, Plan):
            self.name, self._shape, self.kind = "grown", str(kind), _grown(kind)
        else:
            self.name, self._shape, self.kind = kind, str(KINDS[kind].size), KINDS[kind]
        self.marker = f"treeguard-test-{uuid.uuid4().hex}"
        self._program = programs.adversary
        self._life = life
        self._heard = 0
        self._over = False

    def __enter__(self) -> Adversary:
        self._read, self.report_fd = os.pipe()
        os.set_blocking(self._read, False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.spawned()
        os.close(self._read)  # the sign to end by themselves, for those that are too fast to be put down
        judge.put_down(self.marker)

    @property
    def argv(self) -> list[str]:
        """The command line, program first. The child must inherit :attr:`report_fd`."""
        return [self._program, self.marker, str(self.report_fd), str(self._life), self.name, self._shape]

    def params(self) -> SpawnParams:
        """The parameters of its spawn."""
        program, *args = self.argv
        return SpawnParams(program=program, args=tuple(args), pass_fds=(self.report_fd,))

    def spawned(self) -> None:
        """Closes the other end of the pipe. Call it after the spawn."""
        if self.report_fd >= 0:
            os.close(self.report_fd)
            self.report_fd = -1

    async def ready(self) -> None:
        """Waits until all members are in place, and seen there."""
        self.spawned()
        await until(self._in_place, f"all of {self.name} are in place")

    def wait_ready(self) -> None:
        """Waits until all members said that they are in place, without an event loop."""
        self.spawned()
        wait_until(self._complete, f"all of {self.name} are in place")

    def _complete(self) -> bool:
        self._listen()
        return self._heard >= self.kind.members

    def _in_place(self) -> bool:
        if not self._complete():
            return False
        # The root of the one that fled is gone, but maybe not yet.
        found = len(judge.carriers(self.marker))
        return found == self.kind.members if self.kind.steady else found > 0

    def _listen(self) -> None:
        try:
            while data := os.read(self._read, 65536):
                self._heard += len(data)
            self._over = True
        except BlockingIOError:
            pass

    @property
    def traces(self) -> list[str]:
        """What is left of it now; nothing when it is gone."""
        self._listen()
        return judge.survivors(self.marker) + ([] if self._over else ["somebody holds the pipe"])

    def wait_gone(self) -> None:
        """Waits until it is gone, if no event reports that."""
        judge.wait_until_gone(self.marker)
        wait_until(lambda: not self.traces, f"nobody holds the pipe of {self.name}")
