"""Adversaries against a supervisor that ends without a word: nothing of its trees outlives it."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator

import pytest

from treeguard.types import Mechanism

from ..support.adoption import Adoption
from ..support.adversary import KINDS, Adversary
from ..support.judge import look
from ..support.patience import wait_until
from ..support.programs import Programs
from ..support.supervised import Supervised

#: How a supervisor ends at once, and what its parent sees of that.
DEATHS = {
    "SIGKILL": -signal.SIGKILL,
    "SIGTERM": -signal.SIGTERM,
    "abort": -signal.SIGABRT,
    "segfault": -signal.SIGSEGV,
    "_exit": 3,
}
#: How an interpreter ends that cleans up.
EXITS = {"return": 0, "raise": 1, "SIGINT": -signal.SIGINT}

every_death = pytest.mark.parametrize("death", DEATHS)
every_exit = pytest.mark.parametrize("end", EXITS)
every_adversary = pytest.mark.parametrize("adversary", KINDS, indirect=True)


@pytest.fixture
def menagerie(programs: Programs, adoption: Adoption) -> Iterator[list[Adversary]]:
    """One adversary of each kind, as trees of one supervisor."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Adversary(programs, kind)) for kind in KINDS]


def all_gone(adversaries: list[Adversary], adoption: Adoption) -> None:
    """Nothing of them is left, and all that this process ever adopted are the guards, which ended by themselves."""
    for one in adversaries:
        one.wait_gone()
    orphans = adoption.reap_all()
    assert list(orphans.values()) == [0] * len(adversaries), orphans


@every_adversary
def test_killed_supervisor_takes_its_tree_along(
    containing: Mechanism, adversary: Adversary, adoption: Adoption
) -> None:
    """Each adversary is gone after SIGKILL of its supervisor."""
    with Supervised([adversary], containment=containing, end="SIGKILL") as supervisor:
        os.kill(supervisor.pid, signal.SIGKILL)
        assert supervisor.wait() == -signal.SIGKILL
    all_gone([adversary], adoption)


@every_death
@pytest.mark.parametrize("thread", [False, True], ids=["main", "thread"])
def test_every_death_takes_all_trees_along(
    containing: Mechanism, death: str, thread: bool, menagerie: list[Adversary], adoption: Adoption
) -> None:
    """All trees of a supervisor are gone after any sudden end of it, whichever thread they were spawned from."""
    with Supervised(menagerie, containment=containing, end=death, thread=thread) as supervisor:
        supervisor.go()
        assert supervisor.wait() == DEATHS[death]
    all_gone(menagerie, adoption)


@every_death
@pytest.mark.parametrize("fork", ["python", "libc"])
def test_forked_copy_keeps_no_tree_alive(
    containing: Mechanism, death: str, fork: str, menagerie: list[Adversary], adoption: Adoption
) -> None:
    """A copy that the supervisor forked and that lives on keeps none of its trees alive."""
    with Supervised(menagerie, containment=containing, end=death, fork=fork) as supervisor:
        assert supervisor.copy is not None
        supervisor.go()
        assert supervisor.wait() == DEATHS[death]
        for one in menagerie:
            one.wait_gone()
        copy = look(supervisor.copy)
        assert copy is not None
        assert copy.state != "Z"
        os.kill(supervisor.copy, signal.SIGKILL)
        orphans = adoption.reap_all()
        assert orphans.pop(supervisor.copy) == -signal.SIGKILL
        assert list(orphans.values()) == [0] * len(menagerie), orphans
        supervisor.copy = None


@every_exit
@pytest.mark.parametrize("kept_global", [False, True], ids=["local", "global"])
def test_interpreter_that_ends_leaves_no_tree(
    containing: Mechanism, end: str, kept_global: bool, menagerie: list[Adversary], adoption: Adoption
) -> None:
    """An interpreter that returns, raises or is interrupted with a manager left open leaves no tree."""
    with Supervised(menagerie, containment=containing, end=end, kept_global=kept_global) as supervisor:
        supervisor.go()
        assert supervisor.wait() == EXITS[end]
    for one in menagerie:
        one.wait_gone()
    assert set(adoption.reap_all().values()) <= {0}


@every_exit
def test_interrupted_holder_cleans_up(mechanism: Mechanism, end: str, programs: Programs, adoption: Adoption) -> None:
    """A supervisor that holds its manager has reaped everything when it is gone itself, also after Ctrl-C."""
    with (
        Adversary(programs, "alone") as adversary,
        Supervised([adversary], containment=mechanism, end=end, held=True) as supervisor,
    ):
        supervisor.go()
        assert supervisor.wait() == EXITS[end]
        assert not adoption.newcomers()
        assert not adversary.traces


@every_adversary
def test_exec_of_the_supervisor_ends_its_tree(containing: Mechanism, adversary: Adversary, adoption: Adoption) -> None:
    """A supervisor that becomes another program no longer owns its tree, which ends though the process lives."""
    with Supervised([adversary], containment=containing, end="exec") as supervisor:
        supervisor.go()
        adversary.wait_gone()
        successor = look(supervisor.pid)
        assert successor is not None
        assert successor.state != "Z"
    all_gone([adversary], adoption)


@pytest.mark.parametrize("death", [*DEATHS, *EXITS])
@pytest.mark.parametrize("thread", [False, True], ids=["main", "thread"])
def test_root_of_a_process_group_dies_with_its_supervisor(
    death: str, thread: bool, programs: Programs, adoption: Adoption
) -> None:
    """With a process group alone at least the root is gone after any end of the supervisor."""
    with Adversary(programs, "alone") as adversary:
        with Supervised([adversary], containment="process_group", end=death, thread=thread) as supervisor:
            supervisor.go()
            # Its loop is not the main thread's, so that Ctrl-C does not reach it.
            expected = {**DEATHS, **EXITS}[death]
            assert supervisor.wait() == (0 if thread and death == "raise" else expected)
        adversary.wait_gone()


@pytest.mark.parametrize("adversary", ["family", "session", "daemon", "zoo"], indirect=True)
def test_control_process_group_outlives_its_supervisor(adversary: Adversary, adoption: Adoption) -> None:
    """With a process group alone the rest of the tree outlives the supervisor, and the judge sees it."""
    with Supervised([adversary], containment="process_group", end="SIGKILL") as supervisor:
        (root,) = supervisor.roots
        os.kill(supervisor.pid, signal.SIGKILL)
        supervisor.wait()
        wait_until(lambda: look(root) is None or adoption.reap(), "the root died with its supervisor")
    assert adversary.traces
    assert adoption.newcomers()
