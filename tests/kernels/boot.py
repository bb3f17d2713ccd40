"""One boot of a machine, from its disks to its end."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import NamedTuple

from treeguard import LocalProcessManager, RootExit, SpawnParams

from ..support.patience import SLOWNESS
from .images import ROOT, kernel_of, root_image
from .machines import Machine
from .suite import TOLD

__all__ = ["Booted", "boot"]

_RESULTS_SIZE = 64 << 20
#: An emulated 6.12 panics where it finds cmpxchg16b.
_HARDWARE = "-accel tcg,thread=multi -machine q35 -cpu max,cx16=off -smp 2 -m 2048"
_NOTHING_ELSE = "-nodefaults -no-user-config -nographic -no-reboot"
_KERNEL_LINE = f"console=ttyS0 quiet panic=-1 root={ROOT} rootfstype=ext4 rootwait rw systemd.show_status=0"
#: On a busy host ticks come late: a kernel that checks its timers panics then, or takes a clock that is dear.
_UNHURRIED = "no_timer_check tsc=reliable nowatchdog"
_LAYOUTS = {"unified": "systemd.unified_cgroup_hierarchy=1", "hybrid": "systemd.unified_cgroup_hierarchy=0"}


class Booted(NamedTuple):
    """What is left of a boot. Only ``results`` is to be believed: qemu ends in order when the guest panicked."""

    results: Path
    console: Path
    timed_out: bool
    #: How qemu ended, in words.
    how: str


def boot(machine: Machine, cargo: Path, work: Path, *, patience: float, append: str = "") -> Booted:
    """Boots a machine with some cargo, and waits until it has turned itself off, but no longer than ``patience``.

    That is in seconds, and more on a slow host (``TREEGUARD_TEST_SLOWNESS``), of which the guest is told. ``append``
    goes to the kernel's command line.
    """
    results, console = work / "results", work / "console"
    with results.open("wb") as disk:
        disk.truncate(_RESULTS_SIZE)
    command = ["qemu-system-x86_64", *_HARDWARE.split(), *_NOTHING_ELSE.split()]
    line = f"{_KERNEL_LINE} {_UNHURRIED} {_LAYOUTS[machine.layout]} {TOLD}={SLOWNESS:g} {append}"
    command += ["-kernel", str(kernel_of(machine)), "-append", line]
    command += [*_disk("root", root_image()), *_disk("cargo", cargo), *_disk("results", results, snapshot="off")]
    ended = asyncio.run(_run([*command, "-serial", "stdio"], console, patience * SLOWNESS))
    if ended is None:
        return Booted(results, console, timed_out=True, how="was stopped")
    how = f"was ended by signal {ended.signal}" if ended.code is None else f"ended (qemu: {ended.code})"
    return Booted(results, console, timed_out=False, how=how)


def _disk(name: str, path: Path, snapshot: str = "on") -> list[str]:
    """The options of a disk; with a snapshot nothing is written to its file."""
    file = str(path).replace(",", ",,")
    drive = f"if=none,id={name},file={file},format=raw,cache=unsafe,snapshot={snapshot}"
    return ["-drive", drive, "-device", f"nvme,drive={name},serial={name}"]


async def _run(command: list[str], console: Path, patience: float) -> RootExit | None:
    """How it ended by itself. It is gone in any case, also when this process is killed."""
    with console.open("wb") as output:
        params = SpawnParams(command[0], tuple(command[1:]), stdout=output.fileno(), stderr=output.fileno())
        async with LocalProcessManager() as manager:
            child = await manager.spawn_child(params)
            return await manager.wait_for_root(child.pid, patience)
