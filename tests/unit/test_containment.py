"""Choosing a containment: the first that works, or the one that was asked for, never another."""

import itertools
from typing import Any

import pytest

from treeguard import Containment, ContainmentUnavailable, ContainmentWarning, LocalProcessManager
from treeguard._core.containment import downgrade
from treeguard._core.containment.guarantees import (
    _GUARANTEES,
    GUARANTEES,
    MECHANISMS,
    Choice,
    check_name,
    choose,
)
from treeguard._core.containment.requirements import check_guarantees, check_required
from treeguard.types import GuaranteeName, Mechanism

#: What can be given at all; of the others a trial never says that they work.
BUILT = [mechanism for mechanism in MECHANISMS if mechanism in _GUARANTEES]
HOSTS = [set(host) for n in range(len(BUILT) + 1) for host in itertools.combinations(BUILT, n)]


#: What is never taken unless it is asked for by name is not among them.
AUTOMATIC = [mechanism for mechanism in MECHANISMS if mechanism != "pid_namespace"]


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
    """The mechanisms are tried from the strongest on, but for PID namespaces, and none after one that works."""
    host = Host(gives)
    works = [mechanism for mechanism in AUTOMATIC if mechanism in gives]
    if works:
        assert choose("auto", host.try_out).containment.mechanism == works[0]
        assert host.tried == list(AUTOMATIC[: AUTOMATIC.index(works[0]) + 1])
        return
    with pytest.raises(ContainmentUnavailable) as caught:
        choose("auto", host.try_out)
    assert host.tried == list(AUTOMATIC)
    for mechanism in AUTOMATIC:
        assert f"{mechanism}: no {mechanism} on this host" in str(caught.value)


@pytest.mark.parametrize("gives", HOSTS, ids=lambda host: "+".join(sorted(host)) or "nothing")
@pytest.mark.parametrize("asked", MECHANISMS)
def test_a_name_is_never_downgraded(asked: Mechanism, gives: set[Mechanism]) -> None:
    """What was asked for by name is given or refused with the reason; nothing else is even tried."""
    host = Host(gives)
    if asked in gives:
        assert choose(asked, host.try_out).containment.mechanism == asked
    else:
        with pytest.raises(ContainmentUnavailable, match=f"'{asked}' is not available here: no {asked} on this host"):
            choose(asked, host.try_out)
    assert host.tried == [asked]


@pytest.mark.parametrize("asked", ["", "Auto", "cgroups", "none"])
def test_an_unknown_name_is_refused(asked: Any) -> None:
    """A name that is no mechanism raises ValueError that lists those that are, without a trial."""
    host = Host(set(MECHANISMS))
    for refuse in (lambda: choose(asked, host.try_out), lambda: check_name(asked)):
        with pytest.raises(
            ValueError, match="containment must be 'auto' or one of pid_namespace, cgroup, subreaper"
        ) as caught:
            refuse()
        assert repr(asked) in str(caught.value)
    assert not host.tried


def test_what_was_passed_over_is_known() -> None:
    """The reasons of all that stand before the one that was taken come with it; what was asked for by name has none."""
    host = Host({"process_group"})
    assert choose("auto", host.try_out).passed_over == (
        "cgroup: no cgroup on this host",
        "subreaper: no subreaper on this host",
    )
    assert choose("process_group", host.try_out).passed_over == ()


def test_an_error_is_no_word_on_the_host() -> None:
    """What a trial raises is raised, and nothing weaker is tried."""
    tried = []

    def try_out(mechanism: Mechanism) -> str | None:
        tried.append(mechanism)
        raise OSError("broken")

    with pytest.raises(OSError, match="broken"):
        choose("auto", try_out)
    assert tried == ["cgroup"]


def test_guarantees_are_the_booleans() -> None:
    """Each boolean of a containment can be required, and nothing else."""
    booleans = [name for name in Containment.__struct_fields__ if isinstance(getattr(CGROUP, name), bool)]
    assert list(GUARANTEES) == booleans


CGROUP, GROUP = _GUARANTEES["cgroup"], _GUARANTEES["process_group"]


@pytest.mark.parametrize("name", GUARANTEES)
def test_a_guarantee_that_is_missing_is_an_error(name: GuaranteeName) -> None:
    """One that is given passes; one that is not is named, with the reasons of what would have given it."""
    check_required([name], Choice(CGROUP))
    choice = Choice(GROUP, ("cgroup: no room", "subreaper: no luck"))
    if getattr(GROUP, name):
        check_required([name], choice)
        return
    with pytest.raises(ContainmentUnavailable, match=f"'process_group' does not give {name}, as required") as caught:
        check_required([name], choice)
    assert "cgroup: no room; subreaper: no luck" in str(caught.value)


@pytest.mark.parametrize(
    "names", [("mechanism",), ("memory_limit",), ("Contains_Escapees",), "contains_escapees", ("",)]
)
def test_an_unknown_guarantee_is_refused(names: Any) -> None:
    """Before anything is tried, and the message lists those that are known. A single string is a mistake as well."""
    for refuse in (lambda: check_guarantees(names), lambda: LocalProcessManager(require=names)):
        with pytest.raises(ValueError, match="require must be a collection of contains_escapees, proves_empty"):
            refuse()


def test_a_weaker_choice_is_told_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A warning and a log record with the reasons; where warnings are errors, the error comes each time."""
    monkeypatch.setattr(downgrade, "_said", set())
    choice = Choice(GROUP, ("cgroup: no room", "subreaper: no luck"))
    for _ in range(2):
        with pytest.raises(ContainmentWarning):
            downgrade.say_once(choice)
    caplog.clear()
    with pytest.warns(ContainmentWarning, match=r"cgroup: no room; subreaper: no luck") as warned:
        _ = [downgrade.say_once(choice) for _ in range(2)]  # type: ignore[func-returns-value]
    assert len(warned) == 1
    assert [(record.name, record.levelname) for record in caplog.records] == [("treeguard.containment", "WARNING")]
    assert "cgroup: no room; subreaper: no luck" in caplog.text


@pytest.mark.parametrize("asked", ["auto", *MECHANISMS])
def test_known_names_pass(asked: str) -> None:
    """Every mechanism and auto can be asked for."""
    check_name(asked)


def test_what_is_promised() -> None:
    """The guarantees of each mechanism, weak spots included, are those of the documentation."""
    promised = {
        "pid_namespace": Containment(
            "pid_namespace",
            contains_escapees=True,
            proves_empty=True,
            reaps_orphans=True,
            atomic_kill=True,
            outlives_supervisor=True,
            outlives_guard=True,
            memory_limit="process",
        ),
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


def test_nonsense_is_refused_by_type_checkers_too() -> None:
    """The comments are a part of the test: mypy complains of one that it does not need."""
    with pytest.raises(ValueError, match="containment must be"):
        LocalProcessManager(containment="nonsense")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="isolation must be"):
        LocalProcessManager(isolation="nonsense")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="require must be"):
        LocalProcessManager(require=("nonsense",))  # type: ignore[arg-type]
