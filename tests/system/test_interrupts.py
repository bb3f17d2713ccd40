"""An exception of a signal's handler in ``treeguard.run`` and ``Popen`` arrives, and nothing is left of the tree.

It comes at every point at which CPython lets one come: between the start of a tree and the note of it, in the delivery
of an event, in the end of a tree.
"""

from __future__ import annotations

import zlib

import pytest

from treeguard.types import Mechanism

from ..support import interrupts
from ..support.apart import run_apart

#: How far from each other are the points at which it comes, in the suite.
STEP = 401


# Where Python drops the exception, as in a destructor, it does not arrive. Which points are met depends on the run.
@pytest.mark.stress
@pytest.mark.parametrize("scenario", interrupts.SCENARIOS)
def test_some_points_raise(mechanism: Mechanism, scenario: str) -> None:
    """No process, descriptor, thread or cgroup is left, and later runs work."""
    seed = zlib.crc32(f"{mechanism} {scenario}".encode())
    first, error = 1 + seed % STEP, list(interrupts.ERRORS)[seed % len(interrupts.ERRORS)]
    _, faults = run_apart(interrupts.every_point_raises, mechanism, scenario, error, first, STEP, False)
    assert not faults


@pytest.mark.stress
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("error", interrupts.ERRORS)
@pytest.mark.parametrize("scenario", interrupts.SCENARIOS)
def test_every_point_raises(mechanism: Mechanism, scenario: str, error: str) -> None:
    """All of them."""
    for first in range(1, 30):
        lives, faults = run_apart(interrupts.every_point_raises, mechanism, scenario, error, first, 29, False)
        assert not faults
        assert lives


@pytest.mark.parametrize("scenario", ["capture", "block", "verbs"])
def test_two_in_a_row(containing: Mechanism, scenario: str) -> None:
    """The second one comes while the first one ends the tree."""
    seed = zlib.crc32(f"{containing} {scenario}".encode())
    assert not run_apart(interrupts.some_points_raise_twice, containing, scenario, "interrupt", seed, 5)


@pytest.mark.stress
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("scenario", interrupts.SCENARIOS)
def test_many_times_two_in_a_row(containing: Mechanism, scenario: str) -> None:
    """At many points."""
    for seed in range(4):
        assert not run_apart(interrupts.some_points_raise_twice, containing, scenario, "interrupt", seed, 50)


def test_control_a_tree_that_is_not_ended_is_found_out() -> None:
    """Control: a command that is left alone when its wait has failed lives on, which is seen."""
    _, faults = run_apart(interrupts.every_point_raises, "subreaper", "expire", "exit", 1, 101, True)
    assert any("guard" in fault for fault in faults)
