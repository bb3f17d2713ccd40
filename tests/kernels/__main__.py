"""Boots machines one after another and runs the suite on each: ``python -m tests.kernels [MACHINE…]``."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import time
from pathlib import Path

from .boot import boot
from .cargo import pack
from .images import kernel_of, root_image
from .machines import MACHINES, Machine
from .suite import BOOT_PATIENCE
from .table import table
from .verdict import Verdict, judge, unpacked

#: Where what came of each machine is left to be looked at.
_KEPT = Path(__file__).parents[2] / "build" / "kernels"
#: Commands, and the packages of Debian that have them.
_NEEDED = {
    "qemu-system-x86_64": "qemu-system-x86",
    "debootstrap": "debootstrap",
    "mkfs.ext4": "e2fsprogs",
    "dpkg-deb": "dpkg",
    "cc": "gcc",
}


def examine(machine: Machine) -> list[Verdict]:
    """Boots a machine, runs the suite, and judges it."""
    work = _KEPT / machine.name
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    began = time.monotonic()
    booted = boot(machine, pack(work), work, patience=BOOT_PATIENCE)
    files = unpacked(booted.results)
    for path in (booted.results, work / "cargo.tar"):
        path.unlink()
    shutil.rmtree(work / "programs")
    for name, content in files.items():
        (work / name).parent.mkdir(exist_ok=True)
        (work / name).write_bytes(content)
    print(
        f"{machine.name} {booted.how} after {time.monotonic() - began:.0f} s; see {os.path.relpath(work)}", flush=True
    )
    if not files:
        print(_last_words(booted.console), flush=True)
    return judge(machine, files)


def _last_words(console: Path) -> str:
    lines = console.read_text("utf-8", "replace").splitlines()
    return "\n".join(["it left no results; the console's last lines:", *lines[-20:]])


def hindrance(names: list[str]) -> str:
    """Why these machines cannot be booted here; empty if they can."""
    unknown = sorted(set(names) - set(MACHINES))
    if unknown:
        return f"there is no machine {', '.join(unknown)}, but {', '.join(MACHINES)}"
    if platform.machine() != "x86_64":
        return f"the machines run what was built for x86-64, and this is {platform.machine()}"
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    absent = [package for command, package in _NEEDED.items() if shutil.which(command, path=path) is None]
    return f"these packages are not installed: {' '.join(absent)}" if absent else ""


def main(names: list[str]) -> int:
    """0 if every run passed, 2 if none could be begun."""
    reason = hindrance(names)
    if reason:
        print(f"test-kernels cannot run: {reason}", file=sys.stderr)
        return 2
    machines = [MACHINES[name] for name in names or MACHINES]
    root_image()
    for machine in machines:
        kernel_of(machine)
    verdicts = [verdict for machine in machines for verdict in examine(machine)]
    print(table(verdicts))
    return 1 if any(verdict.problems for verdict in verdicts) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
