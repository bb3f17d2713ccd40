"""The values of limits, and which of them a containment keeps for what."""

from typing import Any

import pytest

from treeguard import Containment, ContainmentUnavailable, Limits
from treeguard._core.containment.guarantees import with_controllers
from treeguard._core.containment.limit_scopes import check_limits, kept_for

BARE = Containment("cgroup", True, True, True, True, True, True, memory_limit="process")
ALL = Limits(memory=1 << 20, processes=3, cpu=0.5)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"memory": 0}, ValueError),
        ({"memory": -1}, ValueError),
        ({"memory": 1.5}, TypeError),
        ({"memory": True}, TypeError),
        ({"processes": 0}, ValueError),
        ({"processes": "3"}, TypeError),
        ({"processes": 1 << 63}, ValueError),
        ({"cpu": 0}, ValueError),
        ({"cpu": 0.001}, ValueError),
        ({"cpu": float("inf")}, ValueError),
        ({"cpu": float("nan")}, ValueError),
        ({"cpu": "1"}, TypeError),
    ],
)
def test_bad_limits_are_refused_by_name(fields: dict[str, Any], error: type[Exception]) -> None:
    """The message names the field."""
    with pytest.raises(error, match=f"limits: {next(iter(fields))} must be"):
        Limits(**fields)


def test_controllers_keep_limits_for_the_tree() -> None:
    """Each its own; without any, memory is limited for each process and nothing else is."""
    assert with_controllers(BARE, ()) == BARE
    one = with_controllers(BARE, {"pids", "io"})
    assert (one.memory_limit, one.process_limit, one.cpu_limit) == ("process", "tree", None)
    full = with_controllers(BARE, {"memory", "pids", "cpu"})
    assert (full.memory_limit, full.process_limit, full.cpu_limit) == ("tree", "tree", "tree")


def test_limits_are_divided_by_scope() -> None:
    """What is not limited stays out; what remains empty is None."""
    some = with_controllers(BARE, {"pids"})
    assert kept_for("tree", ALL, some) == Limits(processes=3)
    assert kept_for("process", ALL, some) == Limits(memory=1 << 20)
    assert kept_for(None, ALL, some) == Limits(cpu=0.5)
    assert kept_for("tree", Limits(memory=1), some) is None
    assert kept_for("tree", None, some) is None


def test_what_cannot_be_kept_is_refused() -> None:
    """All that is missing is named; what can be kept passes."""
    with pytest.raises(ContainmentUnavailable, match="limits: processes and cpu cannot be limited"):
        check_limits(ALL, BARE)
    check_limits(ALL, with_controllers(BARE, {"memory", "pids", "cpu"}))
    check_limits(Limits(memory=1), BARE)
    check_limits(None, BARE)
