"""Controls: a guest that comes to no good end is a failure, though qemu itself ends in order."""

from __future__ import annotations

from pathlib import Path

import pytest

from .boot import boot
from .machines import MACHINES
from .suite import BOOT_PATIENCE
from .verdict import judge, unpacked

pytestmark = [pytest.mark.kernels, pytest.mark.timeout(BOOT_PATIENCE + 60)]


@pytest.fixture
def cargo(tmp_path: Path) -> Path:
    """Nothing that a guest could run."""
    path = tmp_path / "cargo"
    path.write_bytes(bytes(10240))
    return path


def test_panic_is_a_failure(cargo: Path, tmp_path: Path) -> None:
    """A kernel that panics leaves no results, and no run passes."""
    machine = MACHINES["6.1"]
    booted = boot(machine, cargo, tmp_path, patience=BOOT_PATIENCE, append="init=/bin/false")
    assert b"Kernel panic" in booted.console.read_bytes()
    assert not booted.timed_out
    assert all(verdict.problems for verdict in judge(machine, unpacked(booted.results)))


def test_hanging_guest_is_stopped_and_a_failure(cargo: Path, tmp_path: Path) -> None:
    """A guest that does not come to an end is ended when the patience is over."""
    machine = MACHINES["6.1"]
    booted = boot(machine, cargo, tmp_path, patience=1)
    assert booted.timed_out
    assert all(verdict.problems for verdict in judge(machine, unpacked(booted.results)))
