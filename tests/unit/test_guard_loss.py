"""Which processes are killed after the loss of a guard, decided on a list of processes that do not exist."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Sequence

import pytest

from treeguard._core.containment import bypass, guard_loss, proc_scanner
from treeguard._core.containment.bypass import Bypass
from treeguard._core.containment.guard_loss import LostTree, OrphanedTree
from treeguard._core.containment.proc_scanner import ProcScanner, SearchTarget, Snapshot
from treeguard._core.processes import system
from treeguard._core.processes.process import ProcessInfo

_MEMBER = 2**23
_ROOT = 2**23 + 1
_GUARD = 2**23 + 2
#: The supervisor's.
_SESSION = 2**23 + 3
_NAME = "TREEGUARD_TREE_00ff_"


def traces(root: int, others: Callable[[], Sequence[int]] = tuple) -> LostTree:
    """Of a tree that is as old as the host."""
    return LostTree(root, 1, 0.0, 1e9, others)


def mark(tag: int) -> bytes:
    """The mark of a tree."""
    return f"{_NAME}{tag}=".encode()


@pytest.fixture
def struck(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The groups that were killed, each with its signal. No process is touched."""
    groups: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "killpg", lambda group, number: groups.append((group, number)))
    monkeypatch.setattr(guard_loss, "kill_if", lambda pid, meant: meant())
    return groups


def show(
    monkeypatch: pytest.MonkeyPatch, everyone: Sequence[ProcessInfo], environments: dict[int, bytes]
) -> Callable[[], list[ProcessInfo | None]]:
    """What a lookout is to see, and those that look at single processes."""
    by_pid = {seen.pid: seen for seen in everyone}
    for module in (guard_loss, system):
        monkeypatch.setattr(module, "get_process", by_pid.get)
    for looking in (guard_loss, proc_scanner):
        monkeypatch.setattr(looking, "environment", lambda pid: environments.get(pid, b""))
    return lambda: list(everyone)


@pytest.mark.parametrize(("group", "expected"), [(_MEMBER, [(_MEMBER, signal.SIGKILL)]), (0, [])])
def test_group_without_a_number_is_not_struck(
    group: int, expected: list[tuple[int, int]], struck: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be the supervisor's own, also where the root is not known; control: one with a number is."""
    member = ProcessInfo(_MEMBER, "member", "R", 1, group, _MEMBER, 0)
    see = show(monkeypatch, [member], {_MEMBER: b"\0" + mark(1) + b"1\0"})
    orphaned = OrphanedTree(traces(0), mark=mark(1))
    assert ProcScanner(see).look([orphaned]) == [orphaned]
    assert struck == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [(None, [(_ROOT, signal.SIGKILL)]), (PermissionError(), []), (OSError(errno.EMFILE, "too many"), [])],
    ids=["nobody", "hidden", "no descriptor"],
)
def test_group_whose_number_may_be_a_strangers_is_not_struck(
    answer: OSError | None,
    expected: list[tuple[int, int]],
    struck: list[tuple[int, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A number that another process may have now is left alone. Control: if no process has it, its group is killed."""

    def find(pid: int) -> None:
        assert pid == _ROOT
        if answer is not None:
            raise answer

    see = show(monkeypatch, [ProcessInfo(_MEMBER, "member", "R", 1, _ROOT, _ROOT, 0)], {})
    monkeypatch.setattr(guard_loss, "find", find)
    ProcScanner(see).look([OrphanedTree(traces(_ROOT))])
    assert struck == expected


def test_one_look_serves_all_trees(struck: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is killed for its mark. The environment of a stranger is read once. A tree without any is over."""
    texts = {
        _MEMBER: b"\0" + mark(1) + b"1\0",
        _ROOT: b"\0A=b\0" + mark(2) + b"1\0",
        2**22: b"\0" + mark(4) + b"\0",
    }
    see = show(monkeypatch, [ProcessInfo(pid, "", "R", 1, pid, pid, 0) for pid in texts], texts)
    looked_into: list[int] = []

    def environment(pid: int) -> bytes:
        looked_into.append(pid)
        return texts[pid]

    monkeypatch.setattr(proc_scanner, "environment", environment)
    one = ProcScanner(see)
    sought: list[SearchTarget] = [OrphanedTree(traces(0), mark=mark(number)) for number in (1, 2, 3)]
    assert one.look(sought) == sought
    assert one.look(sought) == sought[:2]
    assert struck == 2 * [(_ROOT, signal.SIGKILL), (_MEMBER, signal.SIGKILL)]
    assert looked_into.count(2**22) == 1


def test_what_was_there_before_the_tree_is_not_looked_into(
    struck: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process older than the tree does not belong to it, whatever its environment. Control: a younger one does."""
    old, young = (
        ProcessInfo(_MEMBER, "", "R", 1, _MEMBER, _MEMBER, 0),
        ProcessInfo(_ROOT, "", "R", 1, _ROOT, _ROOT, 2**60),
    )
    see = show(monkeypatch, [old, young], {pid: b"\0" + mark(1) + b"1\0" for pid in (_MEMBER, _ROOT)})
    ProcScanner(see).look([OrphanedTree(LostTree(0, 1, 0.0, 0.0), mark=mark(1))])
    assert struck == [(_ROOT, signal.SIGKILL)]


SUPERVISOR = ProcessInfo(os.getpid(), "", "R", 1, os.getpgrp(), _SESSION, 15)
INIT = ProcessInfo(1, "", "S", 0, 1, 1, 0)


@pytest.mark.parametrize(
    ("stranger", "expected"),
    [
        (ProcessInfo(_MEMBER, "", "S", 1, _MEMBER, _MEMBER, 20), True),
        (ProcessInfo(_MEMBER, "", "S", 1, _MEMBER, _SESSION, 20), True),
        (ProcessInfo(_MEMBER, "", "S", 1, _MEMBER, _MEMBER, 5), False),
        (ProcessInfo(_MEMBER, "", "Z", 1, _MEMBER, _MEMBER, 20), False),
        (ProcessInfo(_MEMBER, "", "S", 2, _MEMBER, _MEMBER, 20), False),
        (ProcessInfo(_MEMBER, "", "S", 1, _MEMBER, 1, 20), False),
        (ProcessInfo(_MEMBER, "", "S", 1, _MEMBER, 0, 20), False),
        (ProcessInfo(_GUARD, "", "S", 1, _MEMBER, _MEMBER, 20), False),
    ],
    ids=["younger orphan", "in our session", "older", "dead", "no orphan", "session of old", "no session", "known"],
)
def test_what_may_be_an_orphan_of_the_tree(
    stranger: ProcessInfo, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a process younger than the tree that was adopted as an orphan, in a session that it could have."""
    monkeypatch.setattr("treeguard._core.native_processes.adopts", lambda: False)
    monkeypatch.setattr(os, "getsid", lambda _: _SESSION)
    assert Snapshot([INIT, SUPERVISOR, stranger]).may_be_orphans(10, {_GUARD}) == expected


def test_nothing_is_ruled_out_where_not_all_can_be_seen() -> None:
    """Where /proc hides init it may hide others."""
    assert Snapshot([SUPERVISOR]).may_be_orphans(10, ())


class _Host:
    """A guard, and what descends from it, look by look."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, looks: Sequence[Sequence[ProcessInfo]]) -> None:
        self._looks = iter(looks)
        self.killed: list[int] = []
        monkeypatch.setattr(bypass, "kill_if", lambda pid, _: self.killed.append(pid))

    def see(self) -> list[ProcessInfo | None]:
        """The next look."""
        return list(next(self._looks))


def guard(reaped: int = 0) -> ProcessInfo:
    """The guard, stopped."""
    return ProcessInfo(_GUARD, "", "T", os.getpid(), _GUARD, 1, 1, reaped)


LIVING, DEAD, LATER = (
    ProcessInfo(_MEMBER + 9 * (s == "L"), "", s[0].replace("L", "Z"), _GUARD, 1, 1, 5) for s in "RZL"
)
ORPHAN = ProcessInfo(2**22, "", "R", _MEMBER, 1, 1, 6)


@pytest.mark.parametrize(
    ("looks", "killed"),
    [
        ([[INIT, guard(), LIVING, ORPHAN], [INIT, guard(), DEAD], [INIT, guard(), DEAD]], [_MEMBER, 2**22]),
        ([[INIT, guard(), DEAD], [INIT, guard(), DEAD, LATER], [INIT, guard(), DEAD, LATER]], []),
        ([[INIT, guard()], [INIT, guard(9)], [INIT, guard(9)]], []),
    ],
    ids=["killed first", "somebody died meanwhile", "somebody was reaped meanwhile"],
)
def test_tree_below_a_guard_is_gone_when_nothing_changes(
    looks: list[list[ProcessInfo]], killed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two looks in a row have to find nothing alive, and the same dead."""
    host = _Host(monkeypatch, looks)
    one, sought = ProcScanner(host.see), Bypass(_GUARD)
    assert [one.look([sought]) for _ in looks] == [[sought], [sought], []]
    assert sought.proved
    assert host.killed == killed


def test_nothing_is_proved_of_a_guard_that_cannot_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without /proc there is nothing to look at."""

    def see() -> list[ProcessInfo | None]:
        raise FileNotFoundError

    sought = Bypass(_GUARD)
    assert ProcScanner(see).look([sought]) == []
    assert not sought.proved


def test_cgroup_that_is_not_gone_keeps_the_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    """What somebody moved into the cgroup does not descend from the guard."""
    answers = iter([False, False, True, True])
    host = _Host(monkeypatch, [[guard()]] * 4)
    one, sought = ProcScanner(host.see), Bypass(_GUARD, lambda: next(answers))
    assert [bool(one.look([sought])) for _ in range(4)] == [True, True, True, False]


@pytest.mark.parametrize(
    ("number", "seen"),
    [
        (0, ProcessInfo(1, "", "S", 0, 1, 1, 0)),
        (1, ProcessInfo(1, "", "S", 0, 1, 1, 0)),
        (_GUARD, ProcessInfo(_GUARD, "", "S", 1, _GUARD, 1, 1)),
        (_GUARD, ProcessInfo(_GUARD, "", "Z", os.getpid(), _GUARD, 1, 1)),
    ],
    ids=["no guard", "init", "no child of ours", "dead"],
)
def test_nothing_below_a_stranger_is_killed(number: int, seen: ProcessInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    """A guard is a child of this process. What has its number else is not looked below; control: see above."""
    host = _Host(monkeypatch, [[seen, ProcessInfo(_MEMBER, "", "R", number, 1, 1, 5), LIVING]])
    sought = Bypass(number)
    assert ProcScanner(host.see).look([sought]) == []
    assert host.killed == []
    assert not sought.proved


def test_nothing_below_the_next_of_that_number_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even below another child of ours, that was given the number later."""
    host = _Host(monkeypatch, [[guard()], [guard()._replace(started=9), LIVING]])
    one, sought = ProcScanner(host.see), Bypass(_GUARD)
    assert one.look([sought]) == [sought]
    assert one.look([sought]) == []
    assert host.killed == []


def test_nothing_is_proved_where_others_may_be_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where /proc hides init it may hide members of other users; the search ends all the same."""
    host = _Host(monkeypatch, [[guard()]] * 2)
    one, sought = ProcScanner(host.see), Bypass(_GUARD)
    assert [bool(one.look([sought])) for _ in range(2)] == [True, False]
    assert not sought.proved
