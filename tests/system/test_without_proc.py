"""Where no process can be listed: a guard asks wait(2) for its children, number by number."""

from __future__ import annotations

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
