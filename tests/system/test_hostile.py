"""Trees that attack their guards: nothing of them outlives a kill, a manager, or what docs/threats.md says."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator

import pytest

from ..support.adoption import Adoption
from ..support.hostile import ATTACKS, BOUND, Hostile
from ..support.ordinary import USERS, become, reachable
from ..support.patience import wait_until
from ..support.playground import Playground
from ..support.programs import Programs
from ..support.siege import Siege

#: Attacks that do more together.
TOGETHER = [
    # A guard that goes to sleep anew after its limit was lowered.
    ("limit_nofile", "flood_deaths"),
    ("limit_all", "flood_deaths"),
    ("limit_all", "flood"),
    ("stop", "resume"),
    ("stop", "stop_by_session", "flood", "limit_all"),
    ("take_descriptors", "stop"),
    ("nice_19", "sched_idle", "one_busy_cpu", "timer_slack"),
    ("move_self_out", "stop"),
    ("move_self_out", "move_guard_in"),
    ("move_guard_into_frozen", "stop"),
    ("leave_leader_in_session", "stop"),
    ("grow_heads", "stop"),
    ("grow_heads", "limit_all", "flood_deaths"),
]
#: Those of which once is something else than again and again.
_ONCE = {"stop", "seize", "attach", "move_guard_into_frozen"}
#: What root may do and others may not, or what is dearer to it.
_PRIVILEGED = {name for name, attack in ATTACKS.items() if attack.traces or attack.privileged} | {"stop"}
_LOSS = {"kill_guard"}


def _sieges() -> Iterator[object]:
    for user in USERS:
        for attacks in [*((name,) for name in ATTACKS), *TOGETHER]:
            if user == "root" and "ordinary" in USERS and not _PRIVILEGED.issuperset(attacks):
                continue
            if set(attacks) & _LOSS:
                continue
            for mode in ("once", "loop"):
                if mode == "loop" or _ONCE.issuperset(attacks):
                    yield pytest.param(attacks, mode, user, id=f"{'+'.join(attacks)}-{mode}-{user}")


every_siege = pytest.mark.parametrize(("attacks", "mode", "user"), list(_sieges()))


@pytest.fixture(scope="module")
def reached(programs: Programs) -> Iterator[Programs]:
    """The programs, where every user can run them."""
    with reachable(programs) as copies:
        yield copies


@pytest.fixture
def siege(
    containing: str, reached: Programs, adoption: Adoption, attacks: tuple[str, ...], mode: str, user: str
) -> Iterator[Siege]:
    """A supervisor with a hostile tree whose attacks were made."""
    if any(ATTACKS[name].only not in ("", containing) for name in attacks):
        pytest.skip(f"is not about {containing}")
    with Siege(reached, containing, attacks, mode, USERS[user], adoption) as under_way:
        under_way.check_made()
        yield under_way


@every_siege
def test_killed(siege: Siege) -> None:
    """A kill ends all of it within the bound, and that is told."""
    begun = time.monotonic()
    assert siege.perform("kill", 1) == "done"
    if siege.may_be_left(supervisor_lives=True).lasts:
        siege.tree.end_attacks()
    assert siege.perform("wait", 1, BOUND) is True
    assert not siege.tree.traces
    siege.wait_gone(begun)


@every_siege
def test_manager_left(siege: Siege) -> None:
    """Leaving the manager ends all of it within the bound."""
    begun = time.monotonic()
    if siege.may_be_left(supervisor_lives=True).lasts:
        siege.tree.end_attacks()
    assert siege.perform("leave") == "done"
    assert not siege.tree.traces
    siege.wait_gone(begun)


@every_siege
def test_supervisor_killed(siege: Siege) -> None:
    """When the supervisor gets SIGKILL, what is left is what may be, and ends with the attack."""
    begun = time.monotonic()
    siege.kill_supervisor()
    left = siege.may_be_left(supervisor_lives=False)
    if left.lasts:
        siege.tree.end_attacks()
        begun = time.monotonic()
    if not left.stays:
        siege.wait_gone(begun)


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("attack", [name for name, attack in ATTACKS.items() if attack.victim == "guard"])
def test_control_attack_lands_on_what_nothing_protects(
    attack: str, user: str, reached: Programs, adoption: Adoption
) -> None:
    """Each attack does to a process that takes no care what it is meant to do to a guard."""
    uid = USERS[user]
    with contextlib.ExitStack() as stack:
        playground = stack.enter_context(Playground(uid))
        if ATTACKS[attack].only == "cgroup" and playground.home is None:
            pytest.skip("no cgroup can be made")

        def prepare() -> None:
            playground.enter()
            become(uid)

        tree = stack.enter_context(Hostile(reached, (attack,), "once", playground, "stand-in"))
        victim = subprocess.Popen(tree.argv, pass_fds=[tree.report_fd], preexec_fn=prepare)
        stack.callback(victim.wait)
        stack.callback(victim.kill)
        stack.callback(tree.end_attacks)
        tree.wait_ready()
        if ATTACKS[attack].privileged and user != "root":
            assert tree.refused(attack)
            return
        wait_until(lambda: tree.landed(attack, victim.pid), f"{attack} is seen: {tree.told}", BOUND)
        assert not tree.errors(attack)
