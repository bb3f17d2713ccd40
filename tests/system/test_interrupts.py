"""An exception of a signal's handler in ``treeguard.run`` and ``Popen`` arrives, and nothing is left of the tree.

It comes at every point at which CPython lets one come: between the start of a tree and the note of it, in the delivery
of an event, in the end of a tree.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

import pytest

from treeguard.types import Mechanism

from ..support import interrupts
from ..support.apart import run_apart
from ..support.patience import SLOWNESS

#: How far from each other are the points at which it comes, in the suite, and of another kind than Ctrl-C.
STEP, OTHERS_STEP = 101, 5
#: How long, in seconds, all points of one scenario may take.
_LONG = 1200 * SLOWNESS


@pytest.mark.parametrize("scenario", ["capture", "talk"])
def test_some_points_raise(mechanism: Mechanism, scenario: str) -> None:
    """No process, descriptor, thread, lock or cgroup is left, and later runs work."""
    seed = zlib.crc32(f"{mechanism} {scenario}".encode())
    first, error = seed % STEP, list(interrupts.ERRORS)[seed % len(interrupts.ERRORS)]
    lives, faults = run_apart(interrupts.every_point_raises, mechanism, scenario, error, first, STEP, False)
    assert not faults
    assert lives


@pytest.mark.stress
@pytest.mark.timeout(2 * _LONG)
@pytest.mark.parametrize("error", interrupts.ERRORS)
@pytest.mark.parametrize("scenario", interrupts.SCENARIOS)
def test_every_point_raises(
    mechanism: Mechanism, scenario: str, error: str, record_property: Callable[[str, object], None]
) -> None:
    """All of them for Ctrl-C, and every fifth for the others."""
    first, step = (0, 1) if error == "interrupt" else (1, OTHERS_STEP)
    lives, faults = run_apart(
        interrupts.every_point_raises, mechanism, scenario, error, first, step, False, timeout=_LONG
    )
    record_property("points", lives)
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


def test_a_storm(mechanism: Mechanism) -> None:
    """Exceptions that come one after the other, also while the first one ends the tree."""
    raised, left = run_apart(interrupts.storm, mechanism, 1, 20, 0.0007)
    assert not left
    assert raised


@pytest.mark.stress
@pytest.mark.timeout(600)
@pytest.mark.parametrize("pause", [0.0007, 0.003, 0.006])
def test_many_storms(mechanism: Mechanism, pause: float) -> None:
    """For longer."""
    for seed in range(6):
        raised, left = run_apart(interrupts.storm, mechanism, seed, 150, pause)
        assert not left
        assert raised


def test_control_a_tree_that_is_not_ended_is_found_out() -> None:
    """Control: a command that is left alone when its wait has failed lives on, which is seen."""
    _, faults = run_apart(interrupts.every_point_raises, "subreaper", "expire", "exit", 1, 101, True)
    assert any("guard" in fault for fault in faults)
