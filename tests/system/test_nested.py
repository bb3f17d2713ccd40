"""treeguard inside a tree of treeguard: three levels of supervisors, any of which is killed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from treeguard._core.cgroup.cgroups import own_cgroup
from treeguard._core.cgroup.leftovers import sweep

from ..support.adoption import Adoption
from ..support.adversary import Adversary
from ..support.judge import look
from ..support.mechanisms import CONTAINING
from ..support.nested import Nested
from ..support.patience import wait_until
from ..support.programs import Programs

#: Of the supervisors, outermost first: all alike, and mixed where there is more than one mechanism.
CHAINS = [
    *([mechanism] * 3 for mechanism in CONTAINING),
    *([a, b, a] for a in CONTAINING for b in CONTAINING if a != b),
]
#: With a weaker one in between: what it does not contain is of the tree around it.
WEAK = [[mechanism, "process_group", mechanism] for mechanism in CONTAINING]
LEVELS = range(3)

every_level = pytest.mark.parametrize("level", LEVELS, ids=["outermost", "middle", "innermost"])


def wait_gone(nested: Nested, level: int, adoption: Adoption) -> None:
    """Waits until the supervisors from this level on have ended. What lost its parent is this process's to reap."""

    def gone() -> bool:
        adoption.reap(but=nested.supervisors[:1])
        return all(look(pid) is None for pid in nested.supervisors[level:])

    wait_until(gone, f"the supervisors from level {level} on have ended")


def cgroups_of(supervisors: list[int]) -> list[Path]:
    """What is left of the cgroups of these managers, wherever it is; others come and go beside them."""
    if "cgroup" not in CONTAINING:
        return []
    paths = [Path(path, name) for path, directories, _ in os.walk(own_cgroup()) for name in directories]
    return [
        path for path in paths if path.name.startswith("treeguard.") and int(path.name.split(".")[2]) in supervisors
    ]


def has_members(cgroup: Path) -> bool:
    """Whether anybody lives in it or below."""
    try:
        return "populated 1" in (cgroup / "cgroup.events").read_text("ascii")
    except OSError:
        return False


def takes_all_below_along(victim: int, level: int, nested: Nested, adversary: Adversary, adoption: Adoption) -> None:
    """Kills what the supervisors from this level on cannot do without."""
    os.kill(victim, signal.SIGKILL)
    wait_gone(nested, level, adoption)
    adversary.wait_gone()


def nothing_is_left(nested: Nested, adoption: Adoption) -> None:
    """After all have been ended.

    A guard that is killed after its supervisor leaves an empty cgroup, which the next manager beside it removes.
    """
    wait_gone(nested, 0, adoption)
    adoption.reap_all()
    wait_until(lambda: not any(map(has_members, cgroups_of(nested.supervisors))), "nobody lives in a cgroup")

    def swept() -> bool:
        sweep(own_cgroup())
        return not cgroups_of(nested.supervisors)

    if cgroups_of(nested.supervisors):
        wait_until(swept, "no cgroup is left")


@every_level
@pytest.mark.parametrize("chain", [*CHAINS, *WEAK], ids="-".join)
def test_killed_supervisor_takes_all_below_it_along(
    chain: list[str], level: int, programs: Programs, adoption: Adoption
) -> None:
    """Whichever supervisor gets SIGKILL: all below it ends, escapees too, and in the end nothing is left of anybody."""
    if chain[level] == "process_group":
        pytest.skip("ends its root alone: see the control")
    with Adversary(programs, "zoo") as adversary:
        with Nested(chain, adversary) as nested:
            takes_all_below_along(nested.supervisors[level], level + 1, nested, adversary, adoption)
        nothing_is_left(nested, adoption)


@pytest.mark.parametrize("level", [0, 1], ids=["outermost", "middle"])
@pytest.mark.parametrize("chain", CHAINS, ids="-".join)
def test_killed_guard_takes_all_below_it_along(
    chain: list[str], level: int, programs: Programs, adoption: Adoption
) -> None:
    """A guard that is killed takes its root along, which is a supervisor: so the guards below end their trees."""
    with Adversary(programs, "zoo") as adversary:
        with Nested(chain, adversary) as nested:
            takes_all_below_along(nested.guards[level], level + 1, nested, adversary, adoption)
        nothing_is_left(nested, adoption)


@every_level
def test_roots_of_process_groups_die_with_the_supervisor_above(
    level: int, programs: Programs, adoption: Adoption
) -> None:
    """Without guards the root of each tree dies with its supervisor, and being one itself takes its own along."""
    with Adversary(programs, "alone") as adversary:
        with Nested(["process_group"] * 3, adversary) as nested:
            os.kill(nested.supervisors[level], signal.SIGKILL)
            adversary.wait_gone()
        adoption.reap_all()
        wait_gone(nested, 0, adoption)


@every_level
def test_control_escapees_outlive_process_groups(level: int, programs: Programs, adoption: Adoption) -> None:
    """Control: without guards the rest of the innermost tree lives on, and the judge sees it."""
    with Adversary(programs, "zoo") as adversary:
        with Nested(["process_group"] * 3, adversary) as nested:
            os.kill(nested.supervisors[level], signal.SIGKILL)
            wait_gone(nested, level + 1, adoption)
            assert adversary.traces
        assert adversary.traces
