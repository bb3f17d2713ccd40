"""Trees in PID namespaces that attack whoever they find: they reach neither guard nor supervisor, and leave nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from ..support.adoption import Adoption
from ..support.imprisoned import ENDS, FROM_INSIDE, Prison, outlive_nothing
from ..support.mechanisms import INSIDE
from ..support.ordinary import USERS, reachable
from ..support.patience import wait_until
from ..support.programs import Programs

pytestmark = pytest.mark.skipif(not INSIDE, reason="no PID namespaces here")
#: Rounds of the adversary for each user, in the suite and with the stress tests; and in each test.
ROUNDS, MANY = 60, 1060
EACH, MORE = 20, 100


@pytest.fixture(scope="module")
def reached(programs: Programs) -> Iterator[Programs]:
    """The programs, where every user can run them."""
    with reachable(programs) as copies:
        yield copies


@pytest.mark.parametrize("victim", ["anybody", "capable"])
@pytest.mark.parametrize("user", USERS)
def test_no_attack_reaches_anybody(reached: Programs, user: str, victim: str, adoption: Adoption) -> None:
    """Each attack on each process that the tree knows of, by number and by a handle that it was lent."""
    with Prison(reached, "pid_namespace", FROM_INSIDE, USERS[user], adoption, victim) as prison:
        assert not prison.reached()
        assert prison.perform("kill", 1) == "done"
        assert prison.perform("wait", 1, 10.0) is True
        assert not prison.tree.traces


@pytest.mark.parametrize(
    ("attack", "changed"), [("stop", "stands"), ("limit_core", "limits"), ("nice_19", "nice"), ("sched_idle", "policy")]
)
def test_control_without_a_namespace_they_reach_both(
    reached: Programs, attack: str, changed: str, adoption: Adoption
) -> None:
    """The same attack hits guard and supervisor of a tree that is not in a namespace."""
    with Prison(reached, "subreaper", [attack], USERS["ordinary"], adoption, "anybody") as prison:
        expected = {f"{changed} of {prison.guard}", f"{changed} of {prison.supervisor}"}
        wait_until(lambda: {each.partition(":")[0] for each in prison.reached()} >= expected, "both are hit")


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("user", USERS)
def test_no_end_leaves_anything(reached: Programs, user: str, end: str, adoption: Adoption) -> None:
    """However it ends, who waits for it is told so; also if what falls to another process is not reaped there."""
    with Prison(reached, "pid_namespace", ["stop"], USERS[user], adoption, "anybody") as prison:
        begun = time.monotonic()
        prison.end(end)
        prison.wait_gone(begun)


@pytest.mark.parametrize("first", range(0, ROUNDS, EACH))
@pytest.mark.parametrize("user", USERS)
def test_random_adversary(reached: Programs, user: str, first: int, adoption: Adoption) -> None:
    """Attacks and an end that are drawn by lot: nobody is reached, nothing is left."""
    for number in range(first, first + EACH):
        outlive_nothing(reached, USERS[user], adoption, f"{user}-{number}")


@pytest.mark.stress
@pytest.mark.parametrize("first", range(ROUNDS, MANY, MORE))
@pytest.mark.parametrize("user", USERS)
def test_random_adversary_for_long(reached: Programs, user: str, first: int, adoption: Adoption) -> None:
    """The same, many times."""
    for number in range(first, first + MORE):
        outlive_nothing(reached, USERS[user], adoption, f"{user}-{number}")
