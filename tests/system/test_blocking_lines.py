"""Ctrl-C at every line of ``treeguard.run`` leaves nothing, and later runs work."""

from __future__ import annotations

import zlib

import pytest

from treeguard.types import Mechanism

from ..support import blocking_lines
from ..support.apart import run_apart

#: How far from each other, in lines, are those that raise: in the suite, and in a control.
STEP, CONTROL_STEP = 307, 101


@pytest.mark.parametrize("scenario", blocking_lines.SCENARIOS)
def test_some_lines_raise(mechanism: Mechanism, scenario: str) -> None:
    """Wherever it comes, no process, descriptor or cgroup is left."""
    first = 1 + zlib.crc32(f"{mechanism} {scenario}".encode()) % STEP
    raised, faults = run_apart(blocking_lines.every_line_raises, mechanism, scenario, "interrupt", first, STEP, False)
    assert not faults
    assert raised


@pytest.mark.stress
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("error", ["interrupt", "shortage"])
@pytest.mark.parametrize("scenario", blocking_lines.SCENARIOS)
def test_every_line_raises(mechanism: Mechanism, scenario: str, error: str) -> None:
    """All of them."""
    for first in range(1, STEP + 1):
        raised, faults = run_apart(blocking_lines.every_line_raises, mechanism, scenario, error, first, STEP, False)
        assert not faults
        assert raised


def test_control_a_tree_that_is_not_ended_is_found_out() -> None:
    """Control: a command that is left alone when its wait has failed lives on, which is seen."""
    _, faults = run_apart(blocking_lines.every_line_raises, "subreaper", "expire", "shortage", 1, CONTROL_STEP, True)
    assert any("guard" in fault for fault in faults)
