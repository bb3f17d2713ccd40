"""Where a manager can be driven: a world of real processes, with the kernel as judge, and one of none."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, Protocol

from treeguard import LocalProcessManager
from treeguard.types import Mechanism

from ..support.adoption import Adoption
from ..support.adversary import Adversary
from ..support.judge import carriers, children, look, put_down
from ..support.patience import PATIENCE, wait_until
from ..support.plans import Plan
from ..support.programs import Programs
from ..support.remote import Remote
from ..support.verbs import Answer, Verbs
from .fake_system import FakeSystem
from .virtual_clock import VirtualLoop

__all__ = ["FakeWorld", "RealWorld", "World"]


class World(Protocol):
    """A supervisor with trees, which are known by number, and a judge."""

    def spawn(self, tree: int, shape: Plan, parent: int | None, patience: int | None, grown: bool) -> Answer:
        """Spawns a tree; with ``grown`` waits until all its members are in place. See :meth:`Verbs.spawn`."""

    def perform(self, verb: str, *arguments: Any) -> Answer:
        """Any other verb."""

    def living(self, tree: int) -> set[int]:
        """The living processes that carry the tree's mark, as the judge sees them."""

    def group(self, tree: int) -> set[int]:
        """The processes among them that are in the root's group."""

    def root_lives(self, tree: int) -> bool:
        """Whether the root does."""

    def lose_guard(self, tree: int) -> bool:
        """Kills the guard of a tree. Whether there was one."""

    def put_down(self, tree: int) -> None:
        """Ends what is left of a tree that lost its guard, and waits for that."""

    def kill_supervisor(self) -> None:
        """Kills the supervisor. The next verb is another one's."""

    def nothing_else(self) -> bool:
        """Whether the supervisor has left nothing at all: after it was left, and before its next tree."""

    def settled(self, condition: Callable[[], bool], what: str) -> None:
        """Waits for what nobody reports."""

    def close(self) -> None:
        """Puts down whatever is left."""


class RealWorld:
    """The supervisor is a process of its own. What it loses, and what escapes, falls to this one."""

    def __init__(self, mechanism: Mechanism, programs: Programs, patience: float = PATIENCE) -> None:
        """``patience``: how long is waited for what nobody reports."""
        self._mechanism = mechanism
        self._patience = patience
        self._programs = programs
        self._stack = contextlib.ExitStack()
        self._adoption = self._stack.enter_context(Adoption())
        self._adversaries: dict[int, Adversary] = {}
        self._roots: dict[int, int] = {}
        self._remote: Remote | None = None

    @property
    def _supervisor(self) -> Remote:
        if self._remote is None:
            self._remote = Remote(self._mechanism)
        return self._remote

    def spawn(self, tree: int, shape: Plan, parent: int | None, patience: int | None, grown: bool) -> Answer:
        one = self._adversaries[tree] = self._stack.enter_context(Adversary(self._programs, shape))
        program, marker, _, *rest = one.argv
        argv = [program, marker, "fd", *rest]
        answer = self._supervisor.perform("spawn", tree, argv, "fds", parent, patience, fds=[one.report_fd])
        one.spawned()
        if isinstance(answer, int):
            self._roots[tree] = answer
            if grown:
                one.wait_ready()
        return answer

    def perform(self, verb: str, *arguments: Any) -> Answer:
        self._adoption.reap(but={self._supervisor.pid})
        return self._supervisor.perform(verb, *arguments)

    def living(self, tree: int) -> set[int]:
        return set(carriers(self._adversaries[tree].marker))

    def group(self, tree: int) -> set[int]:
        seen = [look(pid) for pid in self.living(tree)]
        return {one.pid for one in seen if one is not None and one.group == self._roots.get(tree)}

    def root_lives(self, tree: int) -> bool:
        return self._roots.get(tree) in self.living(tree)

    def lose_guard(self, tree: int) -> bool:
        guards = children(self._supervisor.pid)
        parents = {seen.parent for pid in self.living(tree) if (seen := look(pid)) is not None}
        for guard in parents & guards.keys():
            os.kill(guard, signal.SIGKILL)
            return True
        return False

    def put_down(self, tree: int) -> None:
        put_down(self._adversaries[tree].marker)
        self.settled(lambda: self._adoption.newcomers().keys() <= {self._supervisor.pid}, "the rest was put down")

    def kill_supervisor(self) -> None:
        self._supervisor.kill()
        self._remote = None

    def nothing_else(self) -> bool:
        self._adoption.reap(but={self._supervisor.pid})
        return not children(self._supervisor.pid) and self._adoption.newcomers().keys() <= {self._supervisor.pid}

    def settled(self, condition: Callable[[], bool], what: str) -> None:
        def look_again() -> bool:
            self._adoption.reap(but={self._remote.pid} if self._remote else ())
            return condition()

        wait_until(look_again, what, self._patience)

    def close(self) -> None:
        if self._remote is not None:
            self._remote.kill()
        for one in self._adversaries.values():
            put_down(one.marker)
        self._stack.close()


class _Loop(VirtualLoop):
    """What would be done in a thread is done at once."""

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:  # type: ignore[override]
        done = self.create_future()
        try:
            done.set_result(func(*args))
        except BaseException as error:
            done.set_exception(error)
        return done


def manager_on(system: FakeSystem, mechanism: Mechanism) -> LocalProcessManager:
    """A manager of processes that are none."""

    class Manager(LocalProcessManager):
        _host = staticmethod(lambda: system)

    return Manager(containment=mechanism)


class FakeWorld:
    """No process but this one. Events are late by the numbers of turns in ``lateness``, one after another."""

    def __init__(self, mechanism: Mechanism) -> None:
        self._mechanism: Mechanism = mechanism
        self._loop = _Loop()
        self._markers: dict[int, str] = {}
        self.lateness: list[int] = [0]
        self._begin()

    def _begin(self) -> None:
        self.system = FakeSystem(self._mechanism)
        turns = itertools.count()
        self.system.late = lambda: self.lateness[next(turns) % len(self.lateness)]
        self._manager = manager_on(self.system, self._mechanism)
        self._verbs = Verbs(self._manager)

    def spawn(self, tree: int, shape: Plan, parent: int | None, patience: int | None, grown: bool) -> Answer:
        self._markers[tree] = f"tree {tree}"
        argv = [sys.executable, self._markers[tree], str(shape)]
        return self.perform("spawn", tree, argv, [], parent, patience)

    def perform(self, verb: str, *arguments: Any) -> Answer:
        answer = self._loop.run_until_complete(self._verbs.perform(verb, *arguments))
        assert not self._loop.errors, self._loop.errors
        return answer

    def living(self, tree: int) -> set[int]:
        one = self.system.marked.get(self._markers[tree])
        return {process.pid for process in one.living()} if one else set()

    def group(self, tree: int) -> set[int]:
        one = self.system.marked.get(self._markers[tree])
        return {process.pid for process in one.living() if process.in_group} if one else set()

    def root_lives(self, tree: int) -> bool:
        one = self.system.marked.get(self._markers[tree])
        return one is not None and one.root.alive

    def lose_guard(self, tree: int) -> bool:
        return self.system.marked[self._markers[tree]].lose()

    def put_down(self, tree: int) -> None:
        one = self.system.marked.get(self._markers[tree])
        for process in one.living() if one else ():
            process.end()

    def kill_supervisor(self) -> None:
        """There is none to kill; here it is left."""
        self.perform("leave")
        self._begin()

    def nothing_else(self) -> bool:
        return True

    def settled(self, condition: Callable[[], bool], what: str) -> None:
        assert condition(), what

    def close(self) -> None:
        self.perform("leave")
        self._loop.close()
