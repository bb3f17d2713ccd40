"""A guard that dies when this process has no descriptor left, and has not loaded yet what ends a tree without it."""

from __future__ import annotations

import json

from treeguard.types import Mechanism

from ..support.adoption import Adoption
from ..support.apart import command_of, run_apart, run_here
from ..support.exhausted import load_in_time, lose_guard


def told(mechanism: Mechanism, *, keeps: bool) -> list[bool]:
    """See :func:`lose_guard`."""
    return json.loads(run_here(command_of(lose_guard, mechanism, keeps)).stdout)  # type: ignore[no-any-return]


def test_tree_is_ended_without_its_guard(containing: Mechanism, adoption: Adoption) -> None:
    """The descriptors that a manager keeps are enough to load the code, and to find what is left of the tree."""
    assert told(containing, keeps=True) == [True, True, True]


def test_control_without_kept_descriptors_it_lives_on(containing: Mechanism, adoption: Adoption) -> None:
    """Until a descriptor can be had again. Then the tree is ended all the same."""
    assert told(containing, keeps=False) == [False, False, True]


def test_manager_in_use_depends_on_no_file(containing: Mechanism) -> None:
    """Control: a manager that has just begun has not loaded it yet."""
    assert run_apart(load_in_time, containing) == [False, True]
