"""Trials: a mechanism is to be had where an orphan was killed by it, and for no other reason."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from treeguard._core import native
from treeguard._core.cgroup.cgroups import ManagerCgroup
from treeguard._core.cgroup.emptying import empty
from treeguard._core.containment import probe
from treeguard._core.native import NativeTree

from ..support import blind, forbidden, seccomp
from ..support.apart import run_apart
from ..support.mechanisms import CONTAINING

with_cgroups = pytest.mark.skipif("cgroup" not in CONTAINING, reason="no cgroup may be made here")

#: Seconds that something must take which is waited for in vain. The orphan of a trial once left by itself after 2.
LONG = 3.0


class Conversation:
    """The trial's own end of the socket that its orphan listens to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ours: socket.socket
        answer = probe.Probe._answer

        def overheard(trial: probe.Probe) -> tuple[int, int]:
            self.ours = trial._ours
            return answer(trial)

        monkeypatch.setattr(probe.Probe, "_answer", overheard)


def test_killed_orphan_is_a_success() -> None:
    """An orphan that its guard has killed is what a trial is to show."""
    probe.probe_tree()


def test_orphan_that_nobody_kills_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill that does nothing is found out, however long the trial waits: the orphan stays longer."""
    monkeypatch.setattr(NativeTree, "kill", lambda tree: None)
    monkeypatch.setattr(probe, "_PATIENCE", LONG)
    with pytest.raises(TimeoutError, match="not ended within 3 s"):
        probe.probe_tree()


def test_orphan_that_leaves_by_itself_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """An orphan that ends in any other way than by SIGKILL says so, and is no proof of a kill."""
    talk = Conversation(monkeypatch)

    def let_go(_: NativeTree) -> bool:
        talk.ours.shutdown(socket.SHUT_WR)
        return True

    with pytest.raises(OSError, match="left by itself"):
        probe.probe_tree(kill=let_go)


def test_orphan_that_lives_when_its_tree_is_told_empty_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trial looks for itself whether the orphan is gone; here a process that lives is taken for it."""
    answer = probe.Probe._answer
    monkeypatch.setattr(probe.Probe, "_answer", lambda trial: (os.getpid(), answer(trial)[1]))
    with pytest.raises(OSError, match="told empty while an orphan of it was left"):
        probe.probe_tree()


def test_guard_that_dies_is_a_failure_at_once() -> None:
    """A guard that is killed in place of the orphan makes the trial fail, and not wait."""

    def kill_guard(tree: NativeTree) -> bool:
        os.kill(tree.pid, 9)
        return True

    with pytest.raises(OSError, match="the guard died"):
        probe.probe_tree(kill=kill_guard)


@pytest.mark.skipif(not seccomp.SUPPORTED, reason="no filter is known for this machine")
@pytest.mark.parametrize("asked", CONTAINING)
def test_adoption_that_is_only_pretended_is_a_failure(asked: str) -> None:
    """A host that claims that orphans are adopted, and gives them to another process, is found out."""
    said = run_apart(forbidden.achieved, ["subreaper"], 0, asked)
    assert "not available" in said
    assert "an orphan" in said


@with_cgroups
def test_leaf_is_tried_without_the_guard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An orphan that is in the leaf dies by it alone; control: emptying another directory kills nobody."""
    monkeypatch.setattr(NativeTree, "kill", lambda tree: None)
    cgroup = ManagerCgroup()
    try:
        probe.probe_tree(cgroup.fd, 5, kill=lambda _: empty(cgroup.leaf(5), cgroup.own))
        monkeypatch.setattr(probe, "_PATIENCE", 0.5)
        with pytest.raises(TimeoutError):
            probe.probe_tree(cgroup.fd, 6, kill=lambda _: empty(tmp_path / "elsewhere", cgroup.own))
        monkeypatch.undo()
    finally:
        while not empty(cgroup.path, cgroup.own):
            pass
        cgroup.close()


def test_no_descriptor_is_left_of_a_trial_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor a process: the fixture looks. An orphan ends when the trial has ended."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise native.CoreError("clone", errno.EAGAIN)

    monkeypatch.setattr(native.NativeEngine, "spawn", refuse)
    with pytest.raises(native.CoreError):
        probe.probe_tree()


@pytest.mark.parametrize("kind", blind.PROCS)
@pytest.mark.parametrize("asked", CONTAINING)
def test_what_is_had_without_sight_contains_escapees(kind: str, asked: str) -> None:
    """Where no child can be listed a mechanism is refused, or an escapee is ended with its tree all the same."""
    assert blind.run_without_sight(kind, blind.lives_on, asked) in ("refused", "empty: True, left: False")


@pytest.mark.parametrize("kind", blind.PROCS)
def test_numbers_of_another_namespace_mean_nothing(kind: str) -> None:
    """If ``/proc`` is of another pid namespace, no process is found in it, and none is taken for another."""
    assert blind.run_without_sight(kind, blind.sees) == [False, False, True]


def test_control_in_ones_own_namespace_everybody_is_seen() -> None:
    """Control: the same look finds this process and the first one, and lists them."""
    assert run_apart(blind.sees) == [True, True, False]
