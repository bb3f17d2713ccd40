"""A supervisor in a process and a cgroup of its own, as a user of its own, with a hostile tree."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import TracebackType

from treeguard.params import Isolation
from treeguard.types import Mechanism

from .adoption import Adoption
from .hostile import BOUND, ESCAPE, Hostile, Outcome, outcome
from .judge import children, look
from .ordinary import become
from .patience import wait_until
from .playground import Playground
from .programs import Programs
from .remote import Remote
from .verbs import Answer

__all__ = ["Siege"]

_TREE = 1
#: Seconds between two looks for attackers that are left.
_PEACE_INTERVAL = 0.1


def _cgroups(pid: int) -> str:
    with contextlib.suppress(OSError):
        lines = Path(f"/proc/{pid}/cgroup").read_text("utf-8").splitlines()
        return ", ".join(line for line in lines if line.startswith("0::") or ":freezer:" in line)
    return "?"


class Siege:
    """The tree is spawned, and its attacks are made. Leaving it puts down all that is left.

    This process must adopt what gets away.
    """

    def __init__(
        self,
        programs: Programs,
        mechanism: Mechanism,
        attacks: Sequence[str],
        mode: str,
        uid: int,
        adoption: Adoption,
        *,
        first: bool = False,
        isolation: Isolation | None = None,
    ) -> None:
        self._programs = programs
        self._mechanism = mechanism
        self._attacks = (ESCAPE, *attacks)
        self._mode = mode
        self._uid = uid
        self._first = first
        self._isolation = isolation
        self._adoption = adoption
        self._stack = contextlib.ExitStack()
        #: Another tree of this supervisor's, as hostile; None if there is none.
        self.beside: Hostile | None = None
        self._peace: threading.Thread | None = None
        self._closed = threading.Event()

    def __enter__(self) -> Siege:
        with contextlib.ExitStack() as stack:
            stack.callback(self._put_down_guards)
            self.playground = stack.enter_context(Playground(self._uid))
            stack.callback(self._put_down_guards)
            # It is forked before there are pipes, of which it would hold copies.
            self.remote: Remote | None = Remote(self._mechanism, self._prepare, isolation=self._isolation)
            self.supervisor = self.remote.pid
            stack.callback(self.kill_supervisor)
            self.tree = stack.enter_context(self.hostile(self._attacks, first=self._first))
            stack.callback(self.kill_supervisor)
            self.root = self.spawn(_TREE, self.tree)
            self.guard = self._guard()
            self.tree.wait_ready(unless=self._has_ended)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end_peace()
        self._stack.close()

    def _prepare(self) -> None:
        self.playground.enter()
        # In a session of its own, as services are: in that of the test its guards would not be orphaned (setpgid(2)).
        os.setsid()
        become(self._uid)

    def _guard(self) -> int:
        seen = look(self.root)
        # A root that has ended already was killed with its guard.
        return seen.parent if seen is not None and seen.state != "Z" else 0

    def _has_ended(self) -> bool:
        """Whether the root has: an attack ended the guard before the others were begun."""
        root = look(self.root) if isinstance(self.root, int) else None
        return root is None or root.state == "Z"

    def hostile(self, attacks: Sequence[str], *, first: bool = False) -> Hostile:
        """A tree to spawn."""
        tree = Hostile(self._programs, attacks, self._mode, self.playground, first=first)
        if self.remote is not None:
            tree.spared = self.remote.fd
        return tree

    def spawn(self, number: int, tree: Hostile) -> Answer:
        """Has the supervisor spawn a tree. The root's process id, or the error's name."""
        argv = ["fd" if word == str(tree.report_fd) else word for word in tree.argv]
        answer = self.perform("spawn", number, argv, "fds", None, fds=[tree.report_fd])
        tree.spawned()
        return answer

    def perform(self, verb: str, *arguments: object, fds: Sequence[int] = ()) -> Answer:
        """Has the supervisor do something."""
        assert self.remote is not None
        return self.remote.perform(verb, *arguments, fds=fds)

    def check_made(self) -> None:
        """Every attack was made: its effect is seen, or the kernel refused it."""
        for name in self._attacks:
            if not self.tree.refused(name):
                wait_until(partial(self.landed, name), f"{name} is seen", BOUND)

    def landed(self, name: str) -> bool:
        """Whether the effect of an attack is seen."""
        victim = {"guard": self.guard, "supervisor": self.supervisor}[self.tree.victim]
        return self.tree.landed(name, victim)

    def end_attacks(self) -> None:
        """Has all attackers take back what they did, and end; and undoes it for those that no longer can.

        This goes on until the siege ends. An attacker may be killed between a freeze and its undoing, may not have
        begun when it is told to end, and may stop a guard again that another attacker has just continued.
        """
        self._make_peace()
        if self._peace is None:
            self._peace = threading.Thread(target=self._keep_peace)
            self._peace.start()

    def _keep_peace(self) -> None:
        while not self._closed.wait(_PEACE_INTERVAL):
            self._make_peace()

    def _make_peace(self) -> None:
        for tree in self._trees():
            tree.end_attacks()
        for pid in self._guards():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def _end_peace(self) -> None:
        self._closed.set()
        if self._peace is not None:
            self._peace.join()

    def _trees(self) -> list[Hostile]:
        return [self.tree] if self.beside is None else [self.tree, self.beside]

    def _traces(self) -> list[str]:
        return [trace for tree in self._trees() for trace in tree.traces]

    def may_be_left(self, *, supervisor_lives: bool) -> Outcome:
        """What docs/threats.md says of it."""
        made = {name for tree in self._trees() for name in tree.attacks if not tree.refused(name)}
        return outcome(
            made,
            again=self._mode == "loop",
            mechanism=self._mechanism,
            supervisor_lives=supervisor_lives,
            beside=self.beside is not None,
        )

    def wait_gone(self, since: float) -> None:
        """Until the whole tree is gone, guards included, within the bound."""

        def gone() -> bool:
            self._adoption.reap(but={self.supervisor} if self.remote else ())
            return not self._traces() and not self._guards()

        left = BOUND - (time.monotonic() - since)
        try:
            wait_until(gone, "all is gone", left)
        except AssertionError as error:
            orphans = [f"{look(pid)} in {_cgroups(pid)}" for pid in self._guards()]
            raise AssertionError(f"{error}: {self._traces()}, guards and orphans {orphans}") from None

    def _guards(self) -> list[int]:
        """The guards that this supervisor started, wherever they are now."""
        fallen = set(self._adoption.newcomers()) - {self.supervisor}
        return sorted({*fallen, *(children(self.supervisor) if self.remote else ())})

    def kill_supervisor(self) -> None:
        """SIGKILL."""
        if self.remote is not None:
            self.remote.kill()
            self.remote = None

    def _put_down_guards(self) -> None:
        """The processes that a failed test left. This process reaps them, since the supervisor is gone."""

        def none_left() -> bool:
            for pid in self._adoption.newcomers():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._adoption.reap()
            return not self._adoption.newcomers()

        wait_until(none_left, "what was left is put down")
