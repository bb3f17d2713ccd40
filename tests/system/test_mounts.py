"""File systems that are read-only, as cgroups are in many containers, or full."""

from __future__ import annotations

import errno
import os

import pytest

from treeguard import LocalProcessManager
from treeguard._core.cgroup.cgroups import own_cgroup

from ..support import mounts, seccomp
from ..support.mechanisms import CONTAINING
from ..support.programs import Programs

with_cgroups = pytest.mark.skipif("cgroup" not in CONTAINING, reason="no cgroup may be made here")


@with_cgroups
def test_read_only_cgroups_are_not_to_be_had() -> None:
    """Where cgroups are mounted read-only that is the reason why they cannot be used, and guards do without."""
    said, achieved = mounts.run_with_mounts(mounts.mechanisms_on_read_only)
    assert os.strerror(errno.EROFS) in said
    assert achieved == "subreaper"


@with_cgroups
async def test_cgroups_turn_read_only(programs: Programs) -> None:
    """Not under a tree, which is ended. A spawn then fails with that, and leaves nothing; what stays is swept later."""
    step, err, owner = mounts.run_with_mounts(mounts.turns_read_only, list(programs))
    assert (step, err) == ("cgroup", errno.EROFS)
    async with LocalProcessManager(containment="cgroup") as manager:
        await manager.list_children()
        assert not [path for path in own_cgroup().glob("treeguard.*") if f".{owner}." in path.name]


@pytest.mark.skipif(not seccomp.SUPPORTED, reason="no filter is known for this machine")
@pytest.mark.parametrize(("full", "expected"), [(True, errno.ENOSPC), (False, errno.EROFS)], ids=["full", "read-only"])
def test_no_room_for_a_lease(full: bool, expected: int) -> None:
    """A lease that needs a file, and finds no room for it, is refused with the step and the errno."""
    assert mounts.run_with_mounts(mounts.no_room_for_a_lease, full) == ["lease", expected]
