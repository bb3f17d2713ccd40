"""Ends that a guard is not told of: children that end without a SIGCHLD (CLONE_AUTOREAP, Linux 7.1)."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

import build_ffi
from treeguard import LocalProcessManager, SpawnParams
from treeguard._core import native
from treeguard.types import Mechanism

from ..support.patience import PATIENCE, until

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no compiler")

_DEAF = Path(__file__).parent.parent / "support" / "deaf.h"


@pytest.fixture(scope="module")
def deaf_guard(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A guard that is told of its root's end alone."""
    if not build_ffi.freestanding(build_ffi.PLATFORM, platform.machine()):
        pytest.skip("its layer needs raw system calls")
    path = str(tmp_path_factory.mktemp("deaf") / "treeguard-guard")
    command = build_ffi.guard_command(["cc", f'-DTG_FAULTS="{_DEAF}"'], platform.machine(), path)
    subprocess.run(command, cwd=Path(build_ffi.__file__).parent, check=True)
    return path


async def test_tree_is_empty_soon_after_its_last_orphan_ended_unheard(
    containing: Mechanism, deaf_guard: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is looked for while orphans live whose root has ended."""
    orphan = tmp_path / "orphan"
    async with LocalProcessManager(containment=containing) as manager:
        assert manager.containment.mechanism == containing
        monkeypatch.setattr(native, "GUARD", deaf_guard)
        child = await manager.spawn_child(SpawnParams("sh", ("-c", f"sleep 1000 & echo $! > {orphan}")))
        assert await manager.wait_for_root(child.pid, PATIENCE) is not None
        await until(lambda: orphan.exists() and orphan.read_text().endswith("\n"), "there is an orphan")
        assert not await manager.wait_for_exit(child.pid, 0)
        os.kill(int(orphan.read_text()), signal.SIGKILL)
        assert await manager.wait_for_exit(child.pid, PATIENCE)
