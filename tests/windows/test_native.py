"""The C core alone, as it is on a Windows without the job list attribute."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from ..support.patience import PATIENCE
from ..support.programs import Programs

HERE = Path(__file__).parent
CSRC = HERE.parents[1] / "csrc"


def built(directory: Path) -> str:
    """The test program: brought along, or built here."""
    brought = os.environ.get("TREEGUARD_TEST_PROGRAMS")
    if brought:
        return str(Path(brought, "suspended.exe"))
    target = str(directory / "suspended.exe")
    flags = ["-municode", "-D_WIN32_WINNT=0x0A00", "-DTG_WITHOUT_JOB_LIST=1", "-I", str(CSRC)]
    sources = [str(HERE / "suspended.c"), *map(str, (CSRC / "windows").glob("*.c"))]
    subprocess.run([os.environ.get("CC", "gcc"), *flags, *sources, "-o", target], check=True)
    return target


def test_roots_are_put_into_their_jobs_before_they_run(tmp_path: Path, programs: Programs) -> None:
    """Without the attribute a root is a member of its job all the same, and ended with it, and with its handle."""
    done = subprocess.run(
        [built(tmp_path), programs.tiny], capture_output=True, text=True, timeout=4 * PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr
