"""Random trees, random verbs: in a system of processes that the kernel judges, and in one that exists in memory."""

from __future__ import annotations

import re
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test

from treeguard.types import Mechanism

from ..support.patience import PATIENCE
from ..support.plans import Plan, plan
from ..support.programs import Programs
from .tree_machine import TreeMachine, plans
from .worlds import FakeWorld, RealWorld


def machine(base: type[TreeMachine], **attributes: Any) -> type[TreeMachine]:
    """A machine of a mechanism, in a world."""
    return type("TreeRegistry", (base,), attributes)


class InMemory(TreeMachine):
    """Without processes; events are late."""

    mechanism: ClassVar[Mechanism]
    world: FakeWorld

    def make_world(self) -> FakeWorld:
        return FakeWorld(self.mechanism)

    @rule(turns=st.lists(st.integers(0, 5), min_size=1, max_size=5))
    def be_late(self, turns: list[int]) -> None:
        self.world.lateness = turns


class OfProcesses(TreeMachine):
    mechanism: ClassVar[Mechanism]
    programs: ClassVar[Programs]

    def make_world(self) -> RealWorld:
        return RealWorld(self.mechanism, self.programs)


@pytest.mark.parametrize("mechanism", ["cgroup", "subreaper", "process_group"])
def test_trees_in_memory(mechanism: Mechanism) -> None:
    """Thousands of steps: whatever is done in whatever order, the manager knows what has become of its trees."""
    run_state_machine_as_test(
        machine(InMemory, mechanism=mechanism), settings=settings(max_examples=150, stateful_step_count=40)
    )


#: Not everything is needed for finding out a bad guard, and with less it is told in fewer runs.
DISPENSABLE = (
    "cancel_spawn",
    "terminate",
    "shut_down",
    "freeze",
    "thaw",
    "look",
    "list_all",
    "kill_guard",
    "be_late",
    "leave",
    "kill_supervisor",
    "wait",
)
#: A control ends with the first example that fails. So many are for a run in which that one is long to come.
PLENTY = 2000


class Forgetful(InMemory):
    """With a guard that ends the root's group alone."""

    def make_world(self) -> FakeWorld:
        world = super().make_world()
        world.system.kills = lambda process: process.in_group
        return world


def script_of(error: BaseException, printed: str) -> list[str]:
    """The calls of a run that failed, as they are printed; from Python 3.11 on they are notes of the error."""
    text = "\n".join([printed, *getattr(error, "__notes__", ())])
    return [line.strip() for line in text.splitlines() if line.strip().startswith("state.")]


def test_control_escape_is_found_in_memory(capsys: pytest.CaptureFixture[str]) -> None:
    """Control: a guard that forgets processes outside the group is found out, by a short script."""
    with pytest.raises(AssertionError) as failure:
        run_state_machine_as_test(
            machine(Forgetful, mechanism="subreaper", **dict.fromkeys(DISPENSABLE)),
            settings=settings(
                max_examples=PLENTY,
                stateful_step_count=5,
                phases=[Phase.generate, Phase.shrink],
                report_multiple_bugs=False,
            ),
        )
    script = script_of(failure.value, capsys.readouterr().out)
    spawns = [line for line in script if line.startswith("state.spawn(")]
    assert len(spawns) == 1
    # One process that left the group is all that it takes.
    assert re.search(r"shape=plan\('\w*\(o?[sg]\(\)\)'\)", spawns[0]), script
    assert len(script) <= 4


class Misjudged(OfProcesses):
    """Takes a process group for what contains all."""

    def make_world(self) -> RealWorld:
        return RealWorld("process_group", self.programs, 0.5)


def test_control_escape_is_found_among_processes(programs: Programs, capsys: pytest.CaptureFixture[str]) -> None:
    """Control: the same trees and verbs leave escapees of a process group behind, and the judge sees them.

    What fails has to fail again when hypothesis repeats it; what a cancelled spawn has started differs from run to run.
    """
    with pytest.raises(AssertionError) as failure:
        run_state_machine_as_test(
            machine(Misjudged, mechanism="subreaper", programs=programs, cancel_spawn=None),
            settings=settings(max_examples=PLENTY, stateful_step_count=15, phases=[Phase.generate]),
        )
    assert script_of(failure.value, capsys.readouterr().out)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much])
@given(shape=plans().filter(lambda shape: any(not node.in_group and node.stays for node in shape.nodes())))
def test_control_escapees_survive_a_process_group(programs: Programs, shape: Plan) -> None:
    """Control: a tree of which some leave the group has survivors when its group is killed, and only these."""
    world = RealWorld("process_group", programs)
    try:
        assert isinstance(world.spawn(1, shape, None, None, True), int)
        assert world.perform("kill", 1) == "done"
        assert world.perform("wait", 1, PATIENCE) is True
        assert not world.group(1)
        expected = sum(not node.in_group and node.stays for node in shape.nodes())
        # A process that keeps forking may be seen twice, or not at all.
        assert shape.has("h") or shape.has("t") or len(world.living(1)) == expected
        assert world.living(1)
    finally:
        world.close()


@pytest.mark.parametrize("text", ["h()", "(h())", "x(h())", "x(h()h()h())", "x(oh())"])
def test_chain_of_forks_in_a_group(programs: Programs, text: str) -> None:
    """A group whose members keep replacing themselves is not reported empty while one lives, and can be killed."""
    for _ in range(5):
        world = RealWorld("process_group", programs)
        try:
            world.spawn(1, plan(text), None, None, True)
            # Where groups have no handles a kill may miss one, which is seen, and it is killed again.
            for _ in range(20):
                assert world.perform("kill", 1) == "done"
                if world.perform("wait", 1, 1):
                    break
            assert world.perform("wait", 1, PATIENCE) is True
            assert not world.group(1)
        finally:
            world.close()


@pytest.mark.timeout(600)
def test_trees_of_processes(mechanism: Mechanism, programs: Programs) -> None:
    """Whatever is done in whatever order, nothing gets away that the mechanism contains, and nothing else is ended."""
    run_state_machine_as_test(
        machine(OfProcesses, mechanism=mechanism, programs=programs),
        settings=settings(max_examples=20, stateful_step_count=15),
    )
