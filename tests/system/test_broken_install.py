"""A broken installation: what is treeguard's own and cannot be used is named, and never taken for a weak host."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import treeguard
from treeguard import LocalProcessManager, SpawnParams
from treeguard._core import native
from treeguard._core.containment.executable import is_whole
from treeguard.errors import BrokenInstall
from treeguard.types import Mechanism

from ..support.apart import run_here
from ..support.judge import carriers
from ..support.mechanisms import CONTAINING
from ..support.mounts import mount
from ..support.patience import PATIENCE
from ..support.programs import Programs

GUARD = Path(native.GUARD)


def _cut(size: int) -> Callable[[Path], None]:
    return lambda guard: os.truncate(guard, size)


def _replaced(by: str) -> Callable[[Path], None]:
    def replace(guard: Path) -> None:
        shutil.copy(shutil.which(by) or by, guard)

    return replace


def _no_program(guard: Path) -> None:
    guard.write_text("hello")


def _directory(guard: Path) -> None:
    guard.unlink()
    guard.mkdir()


#: What is done to a guard's file, by what it is then.
SPOILED: dict[str, Callable[[Path], None]] = {
    "missing": lambda guard: guard.unlink(),
    "not executable": lambda guard: guard.chmod(0o644),
    "a directory": _directory,
    "no program": _no_program,
    "another program": _replaced("true"),
    "a program that fails": _replaced("false"),
    **{f"cut to {size}": _cut(size) for size in (0, 1, 63, 64, 512, 4096, 5000, 9000, GUARD.stat().st_size - 1)},
}

every_fault = pytest.mark.parametrize("fault", SPOILED)

#: What is said of each mechanism that a broken guard keeps from working, and of the one that needs none.
ASK = """
import json, treeguard
said = {}
for asked in ("auto", "subreaper", "process_group"):
    try:
        said[asked] = treeguard.LocalProcessManager(containment=asked).containment.mechanism
    except treeguard.errors.BrokenInstall as error:
        said[asked] = [error.step, error.filename]
print(json.dumps(said))
"""


class Copy:
    """A copy of the package, found before the one under test."""

    def __init__(self, directory: Path) -> None:
        package = Path(treeguard.__file__).parent
        shutil.copytree(package, directory / "treeguard", ignore=shutil.ignore_patterns("__pycache__"))
        self.guard = directory / "treeguard" / GUARD.name
        self._env = {**os.environ, "PYTHONPATH": str(directory), "PYTHONDONTWRITEBYTECODE": "1"}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs an interpreter that imports the copy."""
        return subprocess.run(
            [sys.executable, *arguments],
            env=self._env,
            cwd="/",
            capture_output=True,
            text=True,
            timeout=3 * PATIENCE,
            check=False,
        )


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    return Copy(tmp_path / "copy")


def is_refused(copy: Copy) -> None:
    """Each way to rely on the guard says that it is broken, and names it."""
    asked = copy.run("-W", "error", "-c", ASK)
    assert asked.returncode == 0, asked.stderr
    named = ["guard", str(copy.guard)]
    assert json.loads(asked.stdout) == {"auto": named, "subreaper": named, "process_group": "process_group"}


def test_control_the_copy_works(copy: Copy) -> None:
    """Control: an unspoiled copy is as good as what it was copied from."""
    assert json.loads(copy.run("-c", ASK).stdout)["subreaper"] == "subreaper"
    assert copy.run("-m", "treeguard", "run", "--", "sh", "-c", "exit 3").returncode == 3


@every_fault
def test_broken_guard_is_an_error_that_names_it(copy: Copy, fault: str) -> None:
    """No weaker mechanism is taken for a guard that cannot be used; one that needs none can be had by name."""
    SPOILED[fault](copy.guard)
    is_refused(copy)


@pytest.mark.parametrize("fault", ["missing", "not executable", "cut to 0", "cut to 9000"])
def test_run_starts_nothing(copy: Copy, fault: str, programs: Programs) -> None:
    """``treeguard run`` fails with its own status, names the file, and has not run the command."""
    SPOILED[fault](copy.guard)
    marker = f"treeguard-test-{os.getpid()}-{fault.replace(' ', '-')}"
    done = copy.run("-m", "treeguard", "run", "--", "sh", "-c", f"setsid {programs.tiny} {marker} & sleep 0.5")
    assert done.returncode == 125
    assert str(copy.guard) in done.stderr
    assert "broken" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not carriers(marker)


@pytest.mark.parametrize("fault", ["missing", "not executable", "cut to 0", "cut to 9000"])
def test_doctor_is_not_pleased(copy: Copy, fault: str) -> None:
    """``treeguard doctor`` calls such a host unhealthy, and says which file it is; ``demo`` refuses."""
    SPOILED[fault](copy.guard)
    done = copy.run("-m", "treeguard", "doctor", "--json")
    report: dict[str, Any] = json.loads(done.stdout)
    assert (done.returncode, report["healthy"], report["auto"]) == (1, False, None)
    mismatches = {each["mechanism"]: each["mismatches"] for each in report["mechanisms"]}
    assert str(copy.guard) in mismatches["subreaper"][0]
    assert mismatches["process_group"] == []
    told = copy.run("-m", "treeguard", "demo")
    assert (told.returncode, told.stdout) == (1, "")
    assert str(copy.guard) in told.stderr


def test_file_system_without_execution(copy: Copy) -> None:
    """So it is where the guard lies on a file system that is mounted noexec; only the guard is, here."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("mounts of one's own take privileges, and unshare(1)")
    code = f"from tests.system import test_broken_install as it; it.on_noexec({str(copy.guard.parent.parent)!r})"
    run_here(["unshare", "--mount", sys.executable, "-c", code])


def on_noexec(directory: str) -> None:
    """Lays a file system over the guard that executes nothing. For a mount namespace of its own."""
    guard = Path(directory, "treeguard", GUARD.name)
    elsewhere = Path(directory, "elsewhere")
    elsewhere.mkdir()
    mount("none", str(elsewhere), "tmpfs", noexec=True)
    shutil.copy2(guard, elsewhere)
    guard.unlink()
    guard.symlink_to(elsewhere / guard.name)
    copy = Copy.__new__(Copy)
    copy.guard = guard
    copy._env = {**os.environ, "PYTHONPATH": directory}
    is_refused(copy)


@pytest.mark.parametrize("fault", ["missing", "not executable", "cut to 0", "another program"])
@pytest.mark.parametrize("containing", CONTAINING)
async def test_guard_that_breaks_later(
    containing: Mechanism, fault: str, tmp_path: Path, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A manager that has been at work says the same at its next spawn, after an upgrade went wrong under its feet."""
    guard = tmp_path / GUARD.name
    shutil.copy2(GUARD, guard)
    async with LocalProcessManager(containment=containing) as manager:
        child = await manager.spawn_child(SpawnParams(programs.tiny))
        monkeypatch.setattr(native, "GUARD", str(guard))
        SPOILED[fault](guard)
        with pytest.raises(BrokenInstall) as caught:
            await manager.spawn_child(SpawnParams(programs.tiny))
        assert (caught.value.step, caught.value.filename) == ("guard", str(guard))
        assert await manager.list_children() == [child]
        monkeypatch.undo()
        await manager.kill_tree(child.pid)
        assert await manager.wait_for_exit(child.pid, PATIENCE)


def test_program_that_is_not_whole(tmp_path: Path) -> None:
    """A file that lacks its end is told from one that is whole."""
    cut = tmp_path / "cut"
    whole = GUARD.read_bytes()
    assert is_whole(GUARD)
    assert is_whole(Path(sys.executable))
    for size in (0, 10, 64, len(whole) // 2, len(whole) - 1):
        cut.write_bytes(whole[:size])
        assert not is_whole(cut)
    cut.write_text("#!/bin/sh\n" + "# a script knows nothing of its own length" * 3)
    assert is_whole(cut)
