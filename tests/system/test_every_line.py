"""An exception at every line of the asyncio layer's spawn, delivery and leaving leaves nothing, and nobody waiting."""

from __future__ import annotations

import zlib

import pytest

from treeguard.types import Mechanism

from ..support import lines
from ..support.apart import run_apart
from ..support.programs import Programs

#: How far from each other, in lines, are those that raise: in the suite, and in a control.
STEP, CONTROL_STEP = 61, 11


def has_scenario(mechanism: Mechanism, scenario: str) -> bool:
    """Without a guard none can be lost."""
    return (mechanism, scenario) != ("process_group", "lose")


@pytest.mark.parametrize("error", lines.ERRORS)
@pytest.mark.parametrize("scenario", lines.SCENARIOS)
def test_some_lines_raise(mechanism: Mechanism, scenario: str, error: str, programs: Programs) -> None:
    """Wherever it comes, no process, descriptor or cgroup is left behind the manager, and whoever waits hears."""
    if not has_scenario(mechanism, scenario):
        pytest.skip("there is no guard to lose")
    # Other lines for each of them, and the same ones in each run.
    first = 1 + zlib.crc32(f"{mechanism} {scenario} {error}".encode()) % STEP
    raised, faults = run_apart(lines.every_line_raises, mechanism, scenario, error, programs.tiny, first, STEP, False)
    assert not faults
    assert raised >= 5


@pytest.mark.stress
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("error", lines.ERRORS)
@pytest.mark.parametrize("scenario", lines.SCENARIOS)
def test_every_line_raises(mechanism: Mechanism, scenario: str, error: str, programs: Programs) -> None:
    """All of them."""
    if not has_scenario(mechanism, scenario):
        pytest.skip("there is no guard to lose")
    for first in range(1, STEP + 1):
        raised, faults = run_apart(
            lines.every_line_raises, mechanism, scenario, error, programs.tiny, first, STEP, False
        )
        assert not faults
        assert raised >= 5


@pytest.mark.parametrize("error", lines.ERRORS)
def test_control_interrupted_leaving_is_found_out(error: str, programs: Programs) -> None:
    """Control: a manager that stops leaving when something interrupts that is not left, which is seen."""
    found = (
        run_apart(lines.every_line_raises, "subreaper", "kill", error, programs.tiny, first, CONTROL_STEP, True)[1]
        for first in range(1, CONTROL_STEP + 1)
    )
    # Which lines those are that raise differs a little from life to life: the loop has more or fewer turns.
    assert any("_leave" in fault for faults in found for fault in faults)


def test_exclusions_have_reasons() -> None:
    """Lines that are passed over are there, and it is said why."""
    assert all(len(reason) > 20 for reason in lines.EXCLUDED.values())
