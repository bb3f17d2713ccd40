"""A number that has been given to another process is never signalled."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from pathlib import Path

import pytest

from treeguard.types import Mechanism

from ..support.apart import run_here
from ..support.programs import Programs

ROOT = Path(__file__).parents[2]
_VERSION = tuple(int(number) for number in platform.release().split("-")[0].split(".")[:2])

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="a pid namespace takes privileges"),
    pytest.mark.skipif(shutil.which("unshare") is None, reason="there is no unshare(1)"),
    pytest.mark.skipif(_VERSION < (6, 14), reason="before Linux 6.14 pid_max is that of the whole machine"),
]


def play(scene: str, mechanism: Mechanism, programs: Programs, *missing: str) -> str:
    """Plays a scene in a pid namespace of its own, without some system calls. Whether the bystander was hit."""
    command = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-m", "tests.support.recycled"]
    return run_here([*command, scene, mechanism, programs.tiny, *missing]).stdout.strip()


def test_control_number_is_given_away(mechanism: Mechanism, programs: Programs) -> None:
    """Control: a signal to the number of a root that is gone hits a bystander."""
    assert play("control", mechanism, programs) == "hit"


def test_root_ended(mechanism: Mechanism, programs: Programs) -> None:
    """A root that has ended while its tree lives on is not signalled any more, nor its group."""
    assert play("root ended", mechanism, programs) == "spared"


def test_guard_lost(containing: Mechanism, programs: Programs) -> None:
    """What is looked for when a guard is lost is not taken for another's, though the supervisor learns of it late."""
    assert play("guard lost", containing, programs) == "spared"


@pytest.mark.parametrize("scene", ["reaped by the host", "ended and reaped by the host"])
def test_reaped_by_the_host(scene: str, mechanism: Mechanism, programs: Programs) -> None:
    """A host that reaps what it did not start gives a guard's or root's number away under its supervisor's eyes."""
    assert play(scene, mechanism, programs) == "spared"


@pytest.mark.parametrize("scene", ["reaped by the host", "ended and reaped by the host"])
@pytest.mark.parametrize("missing", [["waitid"], ["pidfd_open", "pidfd_send_signal", "waitid"]], ids=str)
def test_guard_reaped_by_the_host_on_old_kernels(
    scene: str, missing: list[str], containing: Mechanism, programs: Programs
) -> None:
    """Where there are no handles of processes, or none to wait by, guards are known by the time of their start."""
    assert play(scene, containing, programs, *missing) == "spared"
