"""Shutting down whole families of planned trees, on a virtual clock, compared with a model."""

import asyncio
import math
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from treeguard import ChildHandle, ProcessId
from treeguard.shutdown import Kill, ShutdownReport, Terminate

from .plans import DEADLINES, Expected, Plan, PlannedFailure, PlannedTree, Rung, SeeingManager, expected, plans
from .virtual_clock import Canceller, run

PIDS = [ProcessId(UUID(int=100 + i)) for i in range(6)]
KILL = Rung("kill", 1.0, leaves_after=0.0)
DEAF = (Rung("ask", 1.0, 0.0), Rung("ask", 0.0, 0.0), KILL)


class Family:
    """Trees and who belongs to whom: ``parents`` holds for each the number of an earlier one, or None."""

    def __init__(self, planned: list[Plan], parents: list[int | None]) -> None:
        self.parents = parents
        self.trees = [PlannedTree(plan) for plan in planned]
        for tree, parent in zip(self.trees, parents, strict=True):
            if parent is not None:
                tree.above = self.trees[parent]
                tree.above.below.append(tree)
        handles = [
            ChildHandle(PIDS[i], "io", None if parent is None else PIDS[parent], None, 1)
            for i, parent in enumerate(parents)
        ]
        self.manager = SeeingManager(dict(zip(PIDS, self.trees, strict=False)), handles)

    def begin(self) -> None:
        for tree in self.trees:
            tree.begin()

    async def shut_down(self, deadline: float | None) -> tuple[ShutdownReport, ...]:
        ladders = {pid: tree.ladder(self.manager) for pid, tree in self.manager.trees.items()}
        return await self.manager.shutdown_all(lambda child: ladders[child.pid], deadline=deadline)


@st.composite
def families(draw: st.DrawFn) -> tuple[list[Plan], list[int | None]]:
    """Up to six trees; those that wait for others belong to nobody or to one that was drawn before."""
    planned = draw(st.lists(plans(sure_to_die=True), min_size=1, max_size=len(PIDS)))
    parents: list[int | None] = [draw(st.none() | st.integers(0, i - 1)) if i else None for i in range(len(planned))]
    return planned, parents


def told(family: tuple[list[Plan], list[int | None]], deadline: float | None) -> list[tuple[float, Expected]]:
    """For each tree when its turn comes, and what comes of it."""
    planned, parents = family
    levels: list[int] = []
    for parent in parents:
        levels.append(1 if parent is None else levels[parent] + 1)
    found: dict[int, tuple[float, Expected]] = {}
    for i in sorted(range(len(planned)), key=lambda i: -levels[i]):
        ends = [found[j][0] + found[j][1].took for j, parent in enumerate(parents) if parent == i]
        begins = max(ends, default=0.0)
        share = None if deadline is None else max(0.0, deadline - begins) / levels[i]
        found[i] = begins, expected(planned[i], PIDS[i], share, start=begins)
    return [found[i] for i in range(len(planned))]


def rounded(report: ShutdownReport) -> object:
    """Thirds are not exact."""
    steps = [(step.step, step.outcome, round(step.began, 6), round(step.ended, 6), step.left) for step in report.steps]
    return report.acknowledged, report.exited, report.forced, report.left, round(report.seconds, 6), steps


@given(families(), DEADLINES)
@example(([Plan((Rung("ask", 9.0, 9.0), KILL)), Plan((Rung("ask", 9.0, 9.0), KILL))], [None, 0]), 4 + 2**-26)
@example(([Plan((KILL,)), Plan((Rung("ask", 9.0, 9.0, doing="never ends"), KILL))], [None, None]), None)
@example(([Plan((KILL,), empty=True), Plan(DEAF), Plan(DEAF)], [None, 0, 1]), 1 + 2**-26)
def test_all_are_shut_down_in_order(family: tuple[list[Plan], list[int | None]], deadline: float | None) -> None:
    """Each as by itself, in parallel, when those below it are done, with its share of what is left of the deadline."""
    these = Family(*family)

    async def work() -> tuple[ShutdownReport, ...]:
        these.begin()
        there = {child.pid for child in await these.manager.list_children()}
        reports = await these.shut_down(deadline)
        assert {report.pid for report in reports} == there
        return reports

    reports, took = run(work())
    model = told(family, deadline)
    turns = {report.pid: turn for turn, report in enumerate(reports)}
    for i, (begins, told_of) in enumerate(model):
        if PIDS[i] not in turns:  # Nothing was left of it, nor of those below.
            continue
        assert told_of.report is not None
        assert rounded(reports[turns[PIDS[i]]]) == rounded(told_of.report), i
        did = [(name, round(when, 6)) for name, when in these.trees[i].did]
        assert did == [(name, round(when, 6)) for name, when in told_of.did], (i, begins)
        parent = family[1][i]
        assert parent is None or turns[PIDS[i]] < turns[PIDS[parent]], "children first"
    if turns:
        assert took == pytest.approx(max(model[PIDS.index(pid)][0] + model[PIDS.index(pid)][1].took for pid in turns))
    if deadline is not None:
        depth = len(family[0])
        assert took <= deadline + depth * max(plan.rungs[-1].takes + plan.rungs[-1].exit_timeout for plan in family[0])


@given(families(), DEADLINES, st.integers(1, 30))
def test_cancelled_it_kills_all(family: tuple[list[Plan], list[int | None]], deadline: float | None, turn: int) -> None:
    """Cancelled in whichever turn of the loop, it kills every tree that is not empty, also whose turn had not come."""
    these = Family(*family)
    canceller = Canceller(turn)

    async def work() -> bool:
        canceller.task = asyncio.current_task()
        these.begin()
        try:
            await these.shut_down(deadline)
        except asyncio.CancelledError:
            return True
        return False

    cancelled, _ = run(work(), canceller)
    assert cancelled == bool(canceller.at)
    killed = {pid for pid, _ in these.manager.killed}
    for i, tree in enumerate(these.trees if cancelled else []):
        # To kill a tree is to kill those below it.
        line = [i]
        while (parent := these.parents[line[-1]]) is not None:
            line.append(parent)
        assert tree.gone or not killed.isdisjoint(PIDS[each] for each in line)


def test_a_stubborn_child_leaves_its_parent_time() -> None:
    """Of one deadline a child has half, and the one above it the rest: it is asked too."""
    stubborn = Plan((Rung("ask", 60.0, 60.0), KILL))
    willing = Plan((Rung("ask", 60.0, 60.0, leaves_after=3.0), KILL))
    these = Family([willing, stubborn], [None, 0])
    reports, took = run(these.shut_down(10.0))
    assert [(report.pid, report.forced, report.seconds) for report in reports] == [
        (PIDS[1], True, 5.0),
        (PIDS[0], False, 3.0),
    ]
    assert took == 8.0


def test_an_error_hinders_nobody() -> None:
    """All have their turn before it is raised, the parent of the tree that could not be killed included."""
    failing = Plan((Rung("kill", 1.0, doing="raises"),))
    willing = Plan((Rung("terminate", 1.0, leaves_after=0.5), KILL))
    these = Family([willing, failing, willing], [None, 0, None])
    with pytest.raises(PlannedFailure):
        run(these.shut_down(None))
    assert [bool(tree.did) for tree in these.trees] == [True, True, True]
    assert these.trees[0].gone
    assert these.trees[2].gone


def test_one_ladder_serves_for_all() -> None:
    """A sequence of steps is every child's."""
    plan = Plan((Rung("terminate", 1.0, leaves_after=0.5), KILL))
    these = Family([plan, plan, plan], [None, None, None])
    reports, took = run(these.manager.shutdown_all([Terminate(1), Kill(1)]))
    assert [report.forced for report in reports] == [False] * 3
    assert took == 0.5


def test_who_is_spawned_meanwhile_is_shut_down_too() -> None:
    """Within what is left of the deadline."""
    plan = Plan((Rung("terminate", math.inf), KILL))
    these = Family([plan, plan], [None, None])
    late = these.manager.handles[1:]
    these.manager.handles = these.manager.handles[:1]

    async def work() -> tuple[ShutdownReport, ...]:
        asyncio.get_running_loop().call_later(1, lambda: setattr(these.manager, "handles", [*first, *late]))
        return await these.shut_down(2.0)

    first = these.manager.handles
    reports, took = run(work())
    assert [(report.pid, report.exited, report.seconds) for report in reports] == [
        (PIDS[0], True, 2.0),
        (PIDS[1], True, 0),
    ]
    assert took == 2.0


def test_nothing_to_shut_down() -> None:
    """A manager without children is done at once."""
    assert run(Family([], []).shut_down(None)) == ((), 0)
