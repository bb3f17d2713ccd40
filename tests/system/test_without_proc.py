"""Where no process can be listed: a guard asks wait(2) for its children, number by number."""

from __future__ import annotations

import signal

import pytest

from ..support import blind


@pytest.mark.parametrize("kind", blind.PROCS)
def test_escapees_are_ended_without_proc(kind: str) -> None:
    """A subreaper is had there too, and ends what has left the root's session."""
    assert blind.run_without_sight(kind, blind.lives_on, "subreaper") == "empty: True, left: False"


@pytest.mark.parametrize("kind", blind.PROCS)
def test_control_group_keeps_its_escapees_there_too(kind: str) -> None:
    """Control: the same experiment finds the escapee of a process group alive."""
    assert blind.run_without_sight(kind, blind.lives_on, "process_group").endswith("left: True")


ASKED = "trap 'echo asked; exit' TERM; echo here; while :; do sleep 0.02; done"


@pytest.mark.parametrize("kind", blind.PROCS)
def test_the_command_line_asks_without_proc(kind: str) -> None:
    """The root's group at least, after the timeout and when the root has ended, and the status is the usual one."""
    asked = blind.run_without_sight(kind, blind.runs, "--timeout", "1", "--", "sh", "-c", ASKED)
    assert asked == [124, "here\nasked\n"]
    left = f"({ASKED}) & sleep 0.3; exit 5"
    assert blind.run_without_sight(kind, blind.runs, "--linger", "2", "--", "sh", "-c", left) == [5, "here\nasked\n"]


@pytest.mark.parametrize("kind", blind.PROCS)
def test_commands_have_their_results_without_proc(kind: str) -> None:
    """What is left cannot be named, which is no failure of the command."""
    assert blind.run_without_sight(kind, blind.commands) == [4, 4, 4, -signal.SIGTERM]


@pytest.mark.parametrize("kind", blind.PROCS)
def test_what_is_left_is_asked_without_proc(kind: str) -> None:
    """A request is no error where a part of it cannot be done."""
    assert blind.run_without_sight(kind, blind.asks_what_is_left) is True


@pytest.mark.parametrize("kind", blind.PROCS)
def test_nothing_is_released_without_proc(kind: str) -> None:
    """Nobody could tell the guard from another process of its number: that is said, before anything is started."""
    assert "processes cannot be seen here" in blind.run_without_sight(kind, blind.is_released)
    status = blind.run_without_sight(kind, blind.runs, "--release", "--", "sh", "-c", "echo started; sleep 60 & exit 3")
    assert status == [125, ""]
