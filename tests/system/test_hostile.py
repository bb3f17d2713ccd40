"""Trees that attack their guards: nothing of them outlives a kill, a manager, or what docs/threats.md says."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator

import pytest

from treeguard.types import Mechanism

from ..support.adoption import Adoption
from ..support.hostile import ATTACKS, BOUND, ESCAPE, Hostile
from ..support.judge import children
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
    ("stop", "stop_by_session", "limit_all"),
    ("take_descriptors", "stop"),
    ("nice_19", "sched_idle", "one_busy_cpu", "timer_slack"),
    ("move_self_out", "stop"),
    ("move_self_out", "move_guard_in"),
    ("leave_leader_in_session", "stop"),
    ("grow_heads", "stop"),
    ("grow_heads", "limit_all", "flood_deaths"),
]
#: The attacks whose single and repeated forms have different effects.
_ONCE = {"stop", "seize", "attach", "move_guard_into_frozen"}
#: What root may do and others may not, or what is dearer to it.
_PRIVILEGED = {name for name, attack in ATTACKS.items() if attack.traces or attack.privileged} | {"stop"}
#: Tested on its own; and what every siege has anyhow.
_APART = {"kill_guard", "stop_newborns", "enter", ESCAPE}


#: Of all limits, those whose loss a guard could feel.
_LIMITS = {"limit_nofile", "limit_stack", "limit_all"}
#: The attackers' user in the suite: an ordinary one, also if the tests run as root.
USUAL = "ordinary" if "ordinary" in USERS else next(iter(USERS))

#: The attacks that can be made on any process.
_ON_A_STAND_IN = [name for name, each in ATTACKS.items() if each.victim == "guard" and name != "stop_newborns"]


def _sieges() -> Iterator[object]:
    for user in USERS:
        for attacks in [*((name,) for name in ATTACKS), *TOGETHER]:
            if user == "root" and "ordinary" in USERS and not _PRIVILEGED.issuperset(attacks):
                continue
            if set(attacks) & _APART:
                continue
            for mode in ("once", "loop"):
                if mode == "loop" or _ONCE.issuperset(attacks):
                    # There are hundreds of them: by root, of several at once, and the harmless are for a longer day.
                    marks = [] if _in_suite(attacks, user) else [pytest.mark.stress]
                    yield pytest.param(attacks, mode, user, id=f"{'+'.join(attacks)}-{mode}-{user}", marks=marks)


def _in_suite(attacks: tuple[str, ...], user: str) -> bool:
    return len(attacks) == 1 and user == USUAL and (not attacks[0].startswith("limit_") or attacks[0] in _LIMITS)


every_siege = pytest.mark.parametrize(("attacks", "mode", "user"), list(_sieges()))


@pytest.fixture(scope="module")
def reached(programs: Programs) -> Iterator[Programs]:
    """The programs, where every user can run them."""
    with reachable(programs) as copies:
        yield copies


@pytest.fixture
def siege(
    containing: Mechanism, reached: Programs, adoption: Adoption, attacks: tuple[str, ...], mode: str, user: str
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
    left = siege.may_be_left(supervisor_lives=True)
    assert siege.perform("kill", 1) == "done"
    if left.lasts:
        siege.end_attacks()
    answer = siege.perform("wait", 1, BOUND)
    assert answer is True or (left.lost and answer == "GuardLost")
    assert left.stays or not siege.tree.traces
    assert answer == "GuardLost" or not siege.tree.traces
    if not left.stays:
        siege.wait_gone(begun)


@pytest.mark.stress
@every_siege
def test_manager_left(siege: Siege) -> None:
    """Leaving the manager ends all of it within the bound."""
    begun = time.monotonic()
    left = siege.may_be_left(supervisor_lives=True)
    if left.lasts:
        siege.end_attacks()
    assert siege.perform("leave") == "done"
    if not left.stays:
        assert not siege.tree.traces
        siege.wait_gone(begun)


@every_siege
def test_supervisor_killed(siege: Siege) -> None:
    """When the supervisor gets SIGKILL, what is left is what may be, and ends with the attack."""
    begun = time.monotonic()
    siege.kill_supervisor()
    left = siege.may_be_left(supervisor_lives=False)
    if left.lasts:
        siege.end_attacks()
        begun = time.monotonic()
    if not left.stays:
        siege.wait_gone(begun)


#: What Landlock's signal scope refuses: signals and what tracing takes.
_SIGNALS = ("stop", "stop_by_session", "resume", "kill_guard", "flood", "flood_deaths")


@pytest.mark.parametrize("attack", [*_SIGNALS, "seize", "attach", "take_descriptors", "overwrite", "hang_up_above"])
@pytest.mark.parametrize("user", USERS)
def test_isolated_tree_reaches_nobody(
    containing: Mechanism, attack: str, user: str, reached: Programs, adoption: Adoption
) -> None:
    """With isolation="signals" an attack by signals or tracing is refused, and nothing outlives the supervisor."""
    attacks = (attack,)
    with Siege(reached, containing, attacks, "loop", USERS[user], adoption, isolation="signals") as siege:
        assert siege.tree.refused(attack)
        begun = time.monotonic()
        siege.kill_supervisor()
        siege.wait_gone(begun)


@pytest.mark.parametrize("attacks", [("kill_guard",), ("move_self_out", "kill_guard")], ids="+".join)
def test_guard_killed_from_within(
    containing: Mechanism, attacks: tuple[str, ...], reached: Programs, adoption: Adoption
) -> None:
    """Nothing is said to be empty that is not; and a cgroup is, whose members could not leave it."""
    with Siege(reached, containing, attacks, "once", USERS["ordinary"], adoption) as siege:
        answer = siege.perform("wait", 1, BOUND)
        left = siege.tree.traces
        assert answer in (True, "GuardLost")
        assert not (answer is True and left)
        assert siege.perform("leave") == "done"


@pytest.mark.skipif("root" not in USERS, reason="takes privileges")
def test_guard_whose_end_nobody_sees(containing: Mechanism, reached: Programs, adoption: Adoption) -> None:
    """A guard that was killed while an attacker holds its end of the lifeline is found to be lost all the same."""
    attacks = ("flee_with_descriptors", "kill_guard")
    with Siege(reached, containing, attacks, "once", USERS["root"], adoption) as siege:
        assert siege.tree.told["flee_with_descriptors"][1:] == [("pidfd_getfd", 0), ("ready", 0)]
        assert siege.perform("kill", 1) == "done"
        # In a cgroup that proves that nothing is left, unless others beside it have orphans that could be its own.
        assert siege.perform("wait", 1, BOUND) in ({True, "GuardLost"} if containing == "cgroup" else {"GuardLost"})
        # Reaped, though the lifeline is as open as before.
        assert not children(siege.supervisor)
        assert siege.perform("leave") == "done"


def test_control_guard_that_is_killed_leaves_an_escapee(reached: Programs, adoption: Adoption) -> None:
    """What left its group and cleared its environment stays where there is no cgroup, and the judge sees it."""
    with Siege(reached, "subreaper", ("kill_guard",), "once", USERS["ordinary"], adoption) as siege:
        assert siege.perform("wait", 1, BOUND) == "GuardLost"
        assert siege.tree.traces


def test_guard_that_is_stopped_by_the_first_instruction(
    containing: Mechanism, reached: Programs, adoption: Adoption
) -> None:
    """A root that stops its guard before anything else, maybe before that has said that it runs, is a tree like others.

    It would not be there if it had not sent the signal.
    """
    with Siege(reached, containing, ("stop",), "loop", USERS["ordinary"], adoption, first=True) as siege:
        begun = time.monotonic()
        if isinstance(siege.root, int):
            assert siege.perform("kill", 1) == "done"
            assert siege.perform("wait", 1, BOUND) is True
        else:
            # Stopped before it has said so for a fifth of a second (docs/threats.md, C): the spawn has ended the tree.
            assert siege.root == "ProcessEnded"
        assert not siege.tree.traces
        siege.wait_gone(begun)


def test_guards_that_are_stopped_by_another_tree(containing: Mechanism, reached: Programs, adoption: Adoption) -> None:
    """A tree that stops every guard as soon as it is born keeps no spawn from coming back, and no tree alive."""
    with Siege(reached, containing, ("stop_newborns",), "loop", USERS["ordinary"], adoption) as siege:
        for number in range(2, 12):
            with siege.hostile((ESCAPE,)) as tree:
                begun = time.monotonic()
                answer = siege.spawn(number, tree)
                assert time.monotonic() - begun < BOUND
                if isinstance(answer, int):
                    assert siege.perform("kill", number) == "done"
                    assert siege.perform("wait", number, BOUND) is True
                assert not tree.traces
        assert ("stopped", 0) in siege.tree.told["stop_newborns"]
        begun = time.monotonic()
        assert siege.perform("leave") == "done"
        siege.wait_gone(begun)


@pytest.mark.parametrize("attack", [name for name, attack in ATTACKS.items() if attack.traces])
def test_guard_is_out_of_reach_of_its_own_user(
    containing: Mechanism, attack: str, reached: Programs, adoption: Adoption
) -> None:
    """What tracing takes is refused: memory, descriptors, and what the kernel counts as the like."""
    with Siege(reached, containing, (attack,), "once", USERS["ordinary"], adoption) as siege:
        assert siege.tree.refused(attack)
        assert not ATTACKS[attack].effect.__name__.startswith("_is_") or not siege.landed(attack)


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("attack", _ON_A_STAND_IN)
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

        tree = stack.enter_context(Hostile(reached, (attack,), "once", playground, victim="stand-in"))
        # In a session of its own, since those that were begun before the first setsid(2) share an autogroup that nobody
        # may change (sched(7)).
        victim = subprocess.Popen(tree.argv, pass_fds=[tree.report_fd], preexec_fn=prepare, start_new_session=True)
        stack.callback(victim.wait)
        stack.callback(victim.kill)
        stack.callback(tree.end_attacks)
        tree.wait_ready()
        if ATTACKS[attack].privileged and user != "root":
            assert tree.refused(attack)
            return
        wait_until(lambda: tree.landed(attack, victim.pid), f"{attack} is seen: {tree.told}", BOUND)
        assert not tree.errors(attack)
