"""Choosing a containment: the first that works, or the one that was asked for, never another."""

import itertools

import pytest

from treeguard import Containment, ContainmentUnavailable
from treeguard.containment.claims import _GUARANTEES, MECHANISMS, Mechanism, check_name, choose

#: What can be given at all; of the others a trial never says that they work.
BUILT = [mechanism for mechanism in MECHANISMS if mechanism in _GUARANTEES]
HOSTS = [set(host) for n in range(len(BUILT) + 1) for host in itertools.combinations(BUILT, n)]


class Host:
    """A host that gives some mechanisms, and counts the trials."""

    def __init__(self, gives: set[Mechanism]) -> None:
        self.gives = gives
        self.tried: list[Mechanism] = []

    def try_out(self, mechanism: Mechanism) -> str | None:
        self.tried.append(mechanism)
        return None if mechanism in self.gives else f"no {mechanism} on this host"


@pytest.mark.parametrize("gives", HOSTS, ids=lambda host: "+".join(sorted(host)) or "nothing")
def test_auto_takes_the_first_that_works(gives: set[Mechanism]) -> None:
    """The mechanisms are tried from the strongest on, and none after one that works."""
    host = Host(gives)
    works = [mechanism for mechanism in MECHANISMS if mechanism in gives]
    if works:
        assert choose("auto", host.try_out).mechanism == works[0]
        assert host.tried == list(MECHANISMS[: MECHANISMS.index(works[0]) + 1])
        return
    with pytest.raises(ContainmentUnavailable) as caught:
        choose("auto", host.try_out)
    assert host.tried == list(MECHANISMS)
    for mechanism in MECHANISMS:
        assert f"{mechanism}: no {mechanism} on this host" in str(caught.value)


@pytest.mark.parametrize("gives", HOSTS, ids=lambda host: "+".join(sorted(host)) or "nothing")
@pytest.mark.parametrize("asked", MECHANISMS)
def test_a_name_is_never_downgraded(asked: Mechanism, gives: set[Mechanism]) -> None:
    """What was asked for by name is given or refused with the reason; nothing else is even tried."""
    host = Host(gives)
    if asked in gives:
        assert choose(asked, host.try_out).mechanism == asked
    else:
        with pytest.raises(ContainmentUnavailable, match=f"'{asked}' is not available here: no {asked} on this host"):
            choose(asked, host.try_out)
    assert host.tried == [asked]


@pytest.mark.parametrize("asked", ["", "Auto", "cgroups", "none"])
def test_an_unknown_name_is_refused(asked: str) -> None:
    """A name that is no mechanism raises ValueError that lists those that are, without a trial."""
    host = Host(set(MECHANISMS))
    for refuse in (lambda: choose(asked, host.try_out), lambda: check_name(asked)):
        with pytest.raises(ValueError, match="containment must be 'auto' or one of cgroup, subreaper") as caught:
            refuse()
        assert repr(asked) in str(caught.value)
    assert not host.tried


@pytest.mark.parametrize("asked", ["auto", *MECHANISMS])
def test_known_names_pass(asked: str) -> None:
    """Every mechanism and auto can be asked for."""
    check_name(asked)


def test_what_is_promised() -> None:
    """The guarantees of each mechanism, weak spots included, are those of the documentation."""
    promised = {
        "cgroup": Containment(
            "cgroup",
            contains_escapees=True,
            proves_empty=True,
            reaps_orphans=True,
            atomic_kill=True,
            outlives_supervisor=True,
            outlives_guard=True,
            memory_limit="process",
        ),
        "subreaper": Containment(
            "subreaper",
            contains_escapees=True,
            proves_empty=True,
            reaps_orphans=True,
            atomic_kill=False,
            outlives_supervisor=True,
            outlives_guard=False,
            memory_limit="process",
        ),
        "process_group": Containment(
            "process_group",
            contains_escapees=False,
            proves_empty=False,
            reaps_orphans=False,
            atomic_kill=True,
            outlives_supervisor=False,
            outlives_guard=True,
            memory_limit="process",
        ),
    }
    assert {name: _GUARANTEES[name] for name in BUILT if name in promised} == promised
    for name, containment in _GUARANTEES.items():
        assert containment.mechanism == name
