"""Trees that exist as plans only: how they react to each step of a ladder, and what a shutdown must make of it."""

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from hypothesis import strategies as st

from treeguard import ChildHandle, ProcessId, RootExit, ShutdownTreeResponse
from treeguard.shutdown import AskShutdown, CloseStdin, Kill, ShutdownReport, StepReport, Terminate, Until
from treeguard.shutdown.driver import EMPTY_PATIENCE
from treeguard.shutdown.ladder import ShutdownStep, StepOutcome

from .managers import NeverSpawning

#: As a step's name in a report.
StepName = Literal["ask", "close_stdin", "terminate", "kill"]
#: What becomes of what a step does itself.
Doing = Literal["works", "refuses", "raises", "never ends"]

#: Process ids of what is left of a planned tree.
LEFT = (11, 12)


class PlannedFailure(OSError):
    """What a step raises if that is the plan."""


@dataclass(frozen=True)
class Rung:
    """A step, and how the tree reacts to it. Times in seconds; None is never."""

    name: StepName
    exit_timeout: float
    ack_timeout: float = 0
    whole_tree: bool = False
    doing: Doing = "works"
    takes: float = 0
    leaves_after: float | None = None
    root_after: float | None = None
    until: Until = "empty"

    @property
    def limit(self) -> float:
        """How long what it does itself may take."""
        return {"ask": self.ack_timeout, "kill": math.inf}.get(self.name, self.exit_timeout)


@dataclass(frozen=True)
class Plan:
    """A tree's rungs, and whether it is empty already, leaves by itself, and is seen to."""

    rungs: tuple[Rung, ...]
    empty: bool = False
    leaves_at: float | None = None
    sees_exits: bool = True
    tells_members: bool = True


def _times(bit: int) -> st.SearchStrategy[float]:
    """At once, or a time whose fraction is 2 ** -bit: sums of different bits are never the same moment."""
    return st.just(0.0) | st.integers(0, 4).map(lambda n: n + 2.0**-bit)


def _polite(index: int) -> st.SearchStrategy[Rung]:
    return st.builds(
        Rung,
        name=st.sampled_from(["ask", "ask", "close_stdin", "terminate"]),
        exit_timeout=st.integers(0, 4).map(float),
        ack_timeout=st.integers(0, 4).map(float),
        whole_tree=st.booleans(),
        doing=st.sampled_from(["works", "works", "works", "refuses", "raises", "never ends"]),
        takes=_times(5 + index),
        leaves_after=st.none() | st.none() | _times(12 + index),
        root_after=st.none() | _times(16 + index),
        until=st.sampled_from(["empty", "root"]),
    ).map(lambda rung: rung if rung.name == "ask" or rung.doing != "refuses" else replace(rung, doing="works"))


def _kill(sure: bool) -> st.SearchStrategy[Rung]:
    doing: list[Doing] = ["works"] if sure else ["works", "works", "works", "raises"]
    return st.builds(
        Rung,
        name=st.just("kill"),
        exit_timeout=st.just(9.0) if sure else st.integers(0, 4).map(float),
        doing=st.sampled_from(doing),
        takes=_times(10),
        leaves_after=_times(20) if sure else st.none() | _times(20),
    )


def plans(*, sure_to_die: bool = False) -> st.SearchStrategy[Plan]:
    """Plans of trees; with ``sure_to_die`` such that are seen to become empty, at the latest when they are killed."""
    polite = st.integers(0, 4).flatmap(lambda n: st.tuples(*map(_polite, range(n))))
    rungs = st.tuples(polite, _kill(sure_to_die)).map(lambda parts: (*parts[0], parts[1]))
    return st.builds(
        Plan,
        rungs=rungs,
        empty=st.integers(0, 9).map(lambda n: n == 0),
        leaves_at=st.none() | st.integers(0, 9).map(lambda n: n + 2.0**-24),
        sees_exits=st.just(True) if sure_to_die else st.integers(0, 4).map(lambda n: n > 0),
        tells_members=st.booleans(),
    )


#: What is less than a clock tells, in seconds: so long before a deadline it is over.
TICK = 1e-9
#: Deadlines that no sum of a plan's times falls on.
DEADLINES = st.none() | st.just(0.0) | st.integers(0, 12).map(lambda n: n + 2.0**-26)


@dataclass
class PlannedTree:
    """A tree that goes by a plan."""

    plan: Plan
    below: "list[PlannedTree]" = field(default_factory=list)
    gone: bool = False
    root_gone: bool = False
    waiters: "list[asyncio.Future[None]]" = field(default_factory=list)
    above: "PlannedTree | None" = None
    did: list[tuple[str, float]] = field(default_factory=list)

    @property
    def settled(self) -> bool:
        return self.gone and all(tree.settled for tree in self.below)

    def begin(self) -> None:
        if self.plan.empty:
            self.leave()
        elif self.plan.leaves_at is not None:
            self.leave_in(self.plan.leaves_at)

    def leave_in(self, delay: float | None) -> None:
        if delay == 0:
            self.leave()
        elif delay is not None:
            asyncio.get_running_loop().call_later(delay, self.leave)

    def end_root_in(self, delay: float | None) -> None:
        if delay == 0:
            self.end_root()
        elif delay is not None:
            asyncio.get_running_loop().call_later(delay, self.end_root)

    def end_root(self) -> None:
        self.root_gone = True
        for waiter in self.waiters:
            wake(waiter)

    def leave(self) -> None:
        self.gone = self.root_gone = True
        tree: PlannedTree | None = self
        while tree is not None:
            for waiter in tree.waiters:
                wake(waiter)
            tree = tree.above

    async def act(self, index: int) -> bool:
        """What a rung does itself."""
        rung = self.plan.rungs[index]
        self.did.append((rung.name, asyncio.get_running_loop().time()))
        if rung.doing == "never ends":
            await asyncio.get_running_loop().create_future()
        if rung.takes:
            await asyncio.sleep(rung.takes)
        if rung.doing == "raises":
            raise PlannedFailure("planned")
        if rung.doing == "works":
            self.leave_in(rung.leaves_after)
            self.end_root_in(rung.root_after)
        return rung.doing == "works"

    def ladder(self, manager: "PlannedManager") -> tuple[ShutdownStep, ...]:
        return tuple(self._step(manager, index, rung) for index, rung in enumerate(self.plan.rungs))

    def _step(self, manager: "PlannedManager", index: int, rung: Rung) -> ShutdownStep:
        async def send() -> ShutdownTreeResponse:
            return ShutdownTreeResponse(await self.act(index))

        async def close() -> None:
            await self.act(index)

        if rung.name == "ask":
            return AskShutdown(send, rung.ack_timeout, rung.exit_timeout, rung.until)
        if rung.name == "close_stdin":
            return CloseStdin(close, rung.exit_timeout, rung.until)
        if rung.name == "terminate":
            return Terminate(rung.exit_timeout, rung.whole_tree, until=rung.until)
        return Kill(rung.exit_timeout)


def wake(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)


class PlannedManager(NeverSpawning):
    """Implements what is abstract. Its trees exist as plans only, and are never seen to become empty."""

    def __init__(self, trees: dict[ProcessId, PlannedTree], handles: Sequence[ChildHandle] = ()) -> None:
        self.trees = trees
        self.handles = handles
        self.killed: list[tuple[ProcessId, float]] = []
        self.terminated_members: list[ProcessId] = []

    async def list_children(self) -> list[ChildHandle]:
        return [handle for handle in self.handles if not self.trees[handle.pid].settled]

    async def terminate_tree(self, pid: ProcessId, force: bool) -> None:
        tree = self.trees[pid]
        names = [rung.name for rung in tree.plan.rungs]
        if not force:
            # Which of several rungs this is, the tree itself has counted.
            seen = sum(1 for name, _ in tree.did if name == "terminate")
            await tree.act([i for i, name in enumerate(names) if name == "terminate"][seen])
            return
        await tree.act(len(names) - 1)
        self.killed.append((pid, asyncio.get_running_loop().time()))

    async def members(self, pid: ProcessId) -> Sequence[int] | None:
        return list(LEFT) if self.trees[pid].plan.tells_members else None

    async def terminate_members(self, pid: ProcessId) -> None:
        self.terminated_members.append(pid)


class SeeingManager(PlannedManager):
    """Sees when a tree is empty."""

    async def wait_for_exit(self, pid: ProcessId, timeout: float | None) -> bool:
        tree = self.trees[pid]
        await self._wait(tree, lambda: tree.settled, timeout)
        return tree.settled

    async def wait_for_root(self, pid: ProcessId, timeout: float | None = None) -> RootExit | None:
        tree = self.trees[pid]
        await self._wait(tree, lambda: tree.root_gone, timeout)
        return RootExit() if tree.root_gone else None

    async def _wait(self, tree: PlannedTree, done: Callable[[], bool], timeout: float | None) -> None:
        assert timeout is not None
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        while not done() and loop.time() < end:
            waiter = loop.create_future()
            tree.waiters.append(waiter)
            timer = loop.call_later(end - loop.time(), wake, waiter)
            try:
                await waiter
            finally:
                timer.cancel()


@dataclass(frozen=True)
class Expected:
    """What must come of a shutdown. No report: the kill's error."""

    report: ShutdownReport | None
    did: list[tuple[str, float]]
    took: float


def expected(plan: Plan, pid: ProcessId, deadline: float | None, *, start: float = 0.0) -> Expected:
    """The contract, told with a plan of all that will happen instead of a clock. ``start``: when it is begun."""
    limit = math.inf if deadline is None else deadline
    leaves = 0.0 if plan.empty else math.inf if plan.leaves_at is None else plan.leaves_at - start
    root_ends = leaves
    now, acknowledged, looks = 0.0, False, False
    steps: list[StepReport] = []
    did: list[tuple[str, float]] = []
    left = LEFT if plan.tells_members else None

    def end(exited: bool, forced: bool, remains: tuple[int, ...] | None = ()) -> Expected:
        return Expected(ShutdownReport(pid, tuple(steps), acknowledged, exited, forced, now, remains), did, now)

    for rung in plan.rungs:
        kill = rung.name == "kill"
        if (not did or (looks and not kill and now < limit - TICK)) and plan.sees_exits and leaves <= now:
            return end(exited=True, forced=False)
        if now >= limit - TICK and not kill:
            continue
        did.append((rung.name, start + now))
        began = now
        allowed = math.inf if kill else min(rung.limit, limit - now)
        takes = math.inf if rung.doing == "never ends" else rung.takes
        if takes <= allowed and rung.doing == "works":
            now += takes
            done: float = now
            outcome: StepOutcome = "stayed"
            acknowledged |= rung.name == "ask"
            if rung.leaves_after is not None:
                leaves = min(leaves, now + rung.leaves_after)
            root_ends = min(root_ends, leaves, math.inf if rung.root_after is None else now + rung.root_after)
            wait = rung.exit_timeout if kill else max(0.0, min(rung.exit_timeout, limit - now))
            by_root = rung.until == "root" and plan.sees_exits and root_ends <= now + wait
            if by_root:
                outcome = "root_ended"
                wait = min(now + wait, max(now, root_ends) + EMPTY_PATIENCE) - now
            if plan.sees_exits and leaves <= now + wait:
                now = max(now, leaves)
                steps.append(StepReport(rung.name, "empty", began, now, done))
                return end(exited=True, forced=kill)
            now += wait
            steps.append(StepReport(rung.name, outcome, began, now, done, left=left))
            looks = False
            continue
        now += min(takes, allowed)
        if kill:
            return Expected(None, did, now)
        outcome = _outcome(rung, takes, allowed)
        error = "PlannedFailure: planned" if outcome == "failed" else None
        steps.append(StepReport(rung.name, outcome, began, now, error=error))
        looks = True
    return end(exited=False, forced=True, remains=left)


def _outcome(rung: Rung, takes: float, allowed: float) -> StepOutcome:
    if takes > allowed:
        return "unanswered"
    return "failed" if rung.doing == "raises" else "refused"
