"""The ladder of a shutdown against plans of trees, on a virtual clock, compared with a model of the contract."""

import asyncio
import math
import signal
import sys
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from treeguard import ChildHandle, ProcessId, ShutdownTreeResponse, UnknownProcess
from treeguard.shutdown import AskShutdown, CloseStdin, Kill, ShutdownReport, StepReport, Terminate
from treeguard.shutdown.ladder import Answer, Phase, Shutdown, ShutdownStep, StepOutcome, advance, patience

from .plans import (
    DEADLINES,
    LEFT,
    Plan,
    PlannedFailure,
    PlannedManager,
    PlannedTree,
    Rung,
    SeeingManager,
    expected,
    plans,
)
from .virtual_clock import Canceller, run

PID = ProcessId(UUID(int=7))

KILL = Rung("kill", 1.0, leaves_after=0.0)


def manager_of(plan: Plan) -> tuple[PlannedManager, PlannedTree]:
    """A manager with one tree, with the waiting of the abstract class or with its own."""
    tree = PlannedTree(plan)
    return (SeeingManager if plan.sees_exits else PlannedManager)({PID: tree}), tree


@given(plans(), DEADLINES)
@example(Plan((Rung("ask", 1.0, 1.0, doing="raises"), Rung("terminate", 1.0), KILL)), None)
@example(Plan((Rung("ask", 4.0, 4.0, doing="never ends"), Rung("terminate", 1.0), KILL)), 2 + 2**-26)
@example(Plan((Rung("close_stdin", 4.0, leaves_after=3.0), KILL)), 2 + 2**-26)
def test_a_shutdown_is_what_the_contract_says(plan: Plan, deadline: float | None) -> None:
    """The report, to the last time in it, what was done and when, and the duration are those of the model."""
    manager, tree = manager_of(plan)

    async def work() -> ShutdownReport | None:
        tree.begin()
        try:
            return await manager.shutdown(PID, tree.ladder(manager), deadline=deadline)
        except PlannedFailure:
            return None

    report, took = run(work())
    model = expected(plan, PID, deadline)
    assert (report, tree.did, took) == (model.report, model.did, model.took)
    kill = plan.rungs[-1]
    if deadline is not None:
        assert took <= deadline + kill.takes + kill.exit_timeout
    if report is not None:
        assert msgspec.json.decode(msgspec.json.encode(report), type=ShutdownReport) == report
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(report), type=ShutdownReport) == report


@given(plans(), DEADLINES, st.integers(1, 6))
def test_a_cancelled_shutdown_kills(plan: Plan, deadline: float | None, again: int) -> None:
    """Cancelled in any turn of the loop, and once more a little later, it kills the tree to the end and says so."""
    assume(plan.rungs[-1].doing == "works")

    def shut_down(canceller: Canceller) -> tuple[PlannedManager, bool, float]:
        manager, tree = manager_of(plan)

        async def work() -> bool:
            canceller.task = asyncio.current_task()
            tree.begin()
            try:
                await manager.shutdown(PID, tree.ladder(manager), deadline=deadline)
            except asyncio.CancelledError:
                return True
            return False

        cancelled, took = run(work(), canceller)
        return manager, cancelled, took

    undisturbed = Canceller()
    shut_down(undisturbed)
    for turn in range(1, undisturbed.turns + 1):
        for turns in ((turn,), (turn, turn + again)):
            canceller = Canceller(*turns)
            manager, cancelled, took = shut_down(canceller)
            if canceller.at:
                assert cancelled
                assert manager.killed[-1] == (PID, took)
                assert took <= canceller.at[0] + plan.rungs[-1].takes


@pytest.mark.parametrize("whole_tree", [False, True])
def test_terminate_reaches_the_whole_tree_if_asked_to(whole_tree: bool) -> None:
    """Processes that have left the root's group are signalled only with ``whole_tree``."""
    manager, tree = manager_of(Plan((Rung("terminate", 1.0, whole_tree=whole_tree), KILL)))
    run(manager.shutdown(PID, tree.ladder(manager)))
    assert manager.terminated_members == [PID] * whole_tree


def test_the_ladder_of_who_names_none() -> None:
    """SIGTERM, time to leave, then the kill."""
    tree = PlannedTree(Plan((Rung("terminate", 10.0), Rung("kill", 10.0, leaves_after=2.0))))
    report, took = run(SeeingManager({PID: tree}).shutdown(PID))
    assert [(step.step, step.outcome) for step in report.steps] == [("terminate", "stayed"), ("kill", "empty")]
    assert (report.steps[0].left, report.forced, report.exited, report.left) == (LEFT, True, True, ())
    assert took == report.seconds == 12.0


@pytest.mark.parametrize(
    ("step", "asked"),
    [
        (Terminate(1), ["terminate"]),
        (Terminate(1, to="group"), ["terminate"]),
        (Terminate(1, to="all"), ["terminate", "members"]),
        (Terminate(1, to="root"), []),
        (Terminate(1, signal=signal.SIGINT), []),
    ],
)
def test_a_manager_with_the_abstract_verbs_asks_by_those(step: Terminate, asked: list[str]) -> None:
    """What it cannot send is an error of the step, and the kill follows."""
    manager, tree = manager_of(Plan((Rung("terminate", 1.0), KILL)))
    report, _ = run(manager.shutdown(PID, (step, Kill(1))))
    did = [name for name, _ in tree.did if name != "kill"] + ["members"] * len(manager.terminated_members)
    assert did == asked
    assert report.steps[0].outcome == ("stayed" if asked else "failed")
    assert (report.steps[0].error or "").startswith("" if asked else "NotImplementedError: ")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"whole_tree": True, "to": "root"}, ValueError),
        ({"to": "everybody"}, ValueError),
        ({"signal": -1}, ValueError),
        *([({"signal": 0}, ValueError)] if sys.platform != "win32" else []),  # CTRL_C_EVENT there
        ({"until": "never"}, ValueError),
    ],
)
def test_a_bad_request_is_refused(options: dict[str, Any], error: type[Exception]) -> None:
    """The step raises when it is made, and names the wrong argument."""
    with pytest.raises(error, match=f"^{list(options)[-1]} must"):
        Terminate(1, **options)


async def never() -> ShutdownTreeResponse:
    raise AssertionError("nobody was to be asked")


BAD_STEPS: list[tuple[Any, dict[str, Any]]] = [
    (AskShutdown, {"send_shutdown": never, "ack_timeout": 1, "exit_timeout": 1}),
    (CloseStdin, {"close": print, "exit_timeout": 1}),
    (Terminate, {"exit_timeout": 1}),
    (Kill, {"exit_timeout": 1}),
]


@pytest.mark.parametrize(("step", "good"), BAD_STEPS)
@pytest.mark.parametrize(
    ("value", "error"),
    [(-1, ValueError), (math.nan, ValueError), (None, TypeError), ("1", TypeError), (True, TypeError)],
)
def test_a_bad_time_is_refused(step: Any, good: dict[str, Any], value: object, error: type[Exception]) -> None:
    """A time that cannot be waited cannot be in a step; the message names it and no other."""
    for name in [name for name in good if name.endswith("timeout")]:
        with pytest.raises(error, match=f"^{name} must"):
            step(**{**good, name: value})


BAD_LADDERS: list[tuple[Any, type[Exception]]] = [
    ((), ValueError),
    ((Terminate(1),), ValueError),
    ((Kill(1), Terminate(1)), ValueError),
    ((Kill(1), Kill(1)), ValueError),
    ((Terminate(1), 9), TypeError),
    (Kill(1), TypeError),
    ("kill", TypeError),
    (None, TypeError),
]


@pytest.mark.parametrize(("ladder", "error"), BAD_LADDERS)
def test_a_bad_ladder_is_refused(ladder: Any, error: type[Exception]) -> None:
    """A ladder that cannot be climbed to its end is refused by name, before anything is done."""
    manager, tree = manager_of(Plan((KILL,)))
    for shutdown in (manager.shutdown(PID, ladder), manager.shutdown_all(ladder)):
        manager.handles = [ChildHandle(PID, "io", None, None, 1)]
        with pytest.raises(error, match=r"^ladder must"):
            run(shutdown)
    assert tree.did == []


@pytest.mark.parametrize("deadline", [-1, math.nan, "1", True])
def test_a_bad_deadline_is_refused(deadline: Any) -> None:
    """By name, before anything is done."""
    manager, tree = manager_of(Plan((KILL,)))
    for shutdown in (manager.shutdown(PID, deadline=deadline), manager.shutdown_all(deadline=deadline)):
        with pytest.raises((TypeError, ValueError), match=r"^deadline must"):
            run(shutdown)
    assert tree.did == []


@pytest.mark.parametrize("calls", range(1, 5))
def test_errors_of_the_manager_are_raised(calls: int) -> None:
    """An error of waiting reaches the caller; after the first look the tree is killed for it."""

    class Forgetful(SeeingManager):
        waits = 0

        async def wait_for_exit(self, pid: ProcessId, timeout: float | None) -> bool:
            self.waits += 1
            if self.waits == calls:
                raise UnknownProcess("never heard of it")
            return await super().wait_for_exit(pid, timeout)

    plan = Plan((Rung("ask", 1.0, 1.0, doing="refuses"), Rung("terminate", 1.0), Rung("kill", 1.0)))
    tree = PlannedTree(plan)
    manager = Forgetful({PID: tree})
    with pytest.raises(UnknownProcess):
        run(manager.shutdown(PID, tree.ladder(manager)))
    assert [name for name, _ in tree.did].count("kill") == (calls > 1)


def test_any_function_closes_standard_input() -> None:
    """An ordinary one as well; its error is the step's outcome."""
    closed: list[float] = []

    def close() -> None:
        closed.append(1)
        raise BrokenPipeError("the child has closed it")

    tree = PlannedTree(Plan((KILL,)))
    report, _ = run(SeeingManager({PID: tree}).shutdown(PID, [CloseStdin(close, 1), Kill(1)]))
    assert closed == [1]
    assert report.steps[0] == StepReport(
        "close_stdin", "failed", 0, 0, error="BrokenPipeError: the child has closed it", left=None
    )


OUTCOMES: list[StepOutcome | None] = ["empty", "stayed", "refused", "unanswered", "failed", None]
ANSWERS = st.sampled_from([Answer(outcome) for outcome in OUTCOMES])
STEPS: dict[str, ShutdownStep] = {
    "ask": AskShutdown(never, 1, 2),
    "close_stdin": CloseStdin(print, 3),
    "terminate": Terminate(4),
    "kill": Kill(5),
}
LADDERS = st.lists(st.sampled_from(["ask", "close_stdin", "terminate"]), max_size=3).map(
    lambda names: tuple(STEPS[name] for name in [*names, "kill"])
)


@given(LADDERS, st.lists(st.tuples(ANSWERS, st.floats(0, 3)), min_size=12, max_size=12), st.floats(0, 20))
def test_the_machine(ladder: tuple[ShutdownStep, ...], answers: list[tuple[Answer, float]], deadline: float) -> None:
    """Whatever the answers: it goes up only, comes to its end, and after the deadline does nothing but kill."""
    state, now = Shutdown(ladder, deadline), 0.0
    phases = list(Phase)
    for answer, passed in answers:
        if state.phase is Phase.DONE:
            break
        assert patience(state, now) >= 0
        if not isinstance(state.step, Kill) and state.phase is not Phase.LOOKING:
            assert now + patience(state, now) <= max(now, deadline) + 1e-9
        after = advance(state, answer, now + passed)
        now += passed
        assert (after.rung, phases.index(after.phase)) > (state.rung, phases.index(state.phase))
        assert len(after.steps) - len(state.steps) in (0, 1)
        killing = isinstance(after.step, Kill) and after.phase in (Phase.TRYING, Phase.WAITING)
        assert after.forced == (killing or "kill" in [step.step for step in after.steps])
        state = after
    assert state.phase is Phase.DONE
    begun = [step.began for step in state.steps if step.step != "kill"]
    assert all(began < deadline for began in begun)
    assert [step.began for step in state.steps] == sorted(step.began for step in state.steps)
    assert state.exited or state.forced
    with pytest.raises(ValueError, match="done"):
        advance(state, Answer(), now)
