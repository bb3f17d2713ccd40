"""What is struck of a tree that has lost its guard, told by what is seen of processes that do not exist."""

from __future__ import annotations

import errno
import os
import signal

import pytest

from treeguard.containment import salvage
from treeguard.containment.salvage import Lookout, Remains
from treeguard.processes.procfs import Seen

_MEMBER = 2**23
_ROOT = 2**23 + 1


@pytest.fixture
def struck(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The groups that were killed, each with its signal. No process is touched."""
    groups: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "killpg", lambda group, number: groups.append((group, number)))
    monkeypatch.setattr(salvage, "kill_if", lambda pid, meant: meant())
    monkeypatch.setattr(salvage, "everybody", lambda: iter([_MEMBER]))
    monkeypatch.setattr(salvage, "environment", lambda pid: b"\0MARK=1\0" if pid == _MEMBER else b"")
    return groups


@pytest.mark.parametrize(("group", "expected"), [(_MEMBER, [(_MEMBER, signal.SIGKILL)]), (0, [])])
def test_group_without_a_number_is_not_struck(
    group: int, expected: list[tuple[int, int]], struck: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be the supervisor's own, also where the root is not known; control: one with a number is."""
    member = Seen(_MEMBER, "member", "R", 1, group, _MEMBER, 0)
    monkeypatch.setattr(salvage, "look_at", lambda pid: member if pid == _MEMBER else None)
    remains = Remains(0, 0.0, mark=b"MARK=")
    assert Lookout().look([remains]) == [remains]
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
    """Who has the root's number now could not be looked at; control: where nobody has it, its group is struck."""

    def find(pid: int) -> None:
        assert pid == _ROOT
        if answer is not None:
            raise answer

    member = Seen(_MEMBER, "member", "R", 1, _ROOT, _ROOT, 0)
    monkeypatch.setattr(salvage, "look_at", lambda pid: member if pid == _MEMBER else None)
    monkeypatch.setattr(salvage, "find", find)
    Lookout().look([Remains(_ROOT, 0.0)])
    assert struck == expected


def test_one_look_serves_all_trees(struck: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is struck by its mark; a stranger is looked at once, however many are sought; who is not found is over."""
    marks = {_MEMBER: b"\0MARK_1=1\0", _ROOT: b"\0A=b\0MARK_2=1\0", 2**22: b"\0MARK_=1\0"}
    looked_into: list[int] = []

    def environment(pid: int) -> bytes:
        looked_into.append(pid)
        return marks[pid]

    monkeypatch.setattr(salvage, "everybody", lambda: iter(marks))
    monkeypatch.setattr(salvage, "look_at", lambda pid: Seen(pid, "", "R", 1, pid, pid, 0))
    monkeypatch.setattr(salvage, "environment", environment)
    lookout, sought = Lookout(), [Remains(0, 0.0, mark=b"MARK_%d=" % number) for number in (1, 2, 3)]
    assert lookout.look(sought) == sought
    assert lookout.look(sought) == sought[:2]
    assert struck == 2 * [(_ROOT, signal.SIGKILL), (_MEMBER, signal.SIGKILL)]
    assert looked_into.count(2**22) == 2
