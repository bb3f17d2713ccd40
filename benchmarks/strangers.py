"""What can be done to a supervisor over its sockets: ``python -m benchmarks.strangers [--seconds S] [--only WHAT…]``.

A healthy child gives signs of life on its notification socket, with a watchdog, and is expected at its control socket.
Meanwhile somebody sends what he can: a stranger, of another user where this one is root, or a process of the child's
own tree. In the end the child has to live, and its hello to be heard. How long the supervisor's loop stood still and
how much of a processor it used is told beside an idle bystander, who has a loop that is measured in the same way.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Literal, NamedTuple

from treeguard import ChildHandle, ControlServer, LocalProcessManager, SpawnParams

from .stranger import DATAGRAMS

__all__ = ["ATTACKS", "Found", "attack", "main"]

ROOT = Path(__file__).parent.parent
ATTACKS = ("nothing", *DATAGRAMS, "connections", "half", "garbage")
By = Literal["stranger", "child"]

#: What a stranger may do: milliseconds for which the loop stands still, and percent of a processor.
_STANDSTILL = 50.0
_SHARE = 5.0
#: What a child may cost by what it sends on two sockets, each of which has 4 percent for it, and what waking up costs.
_CHILDS_SHARE = 15.0
_WATCHDOG = 2.0
_PATIENCE = 20.0
#: Seconds between two looks at the loop.
_TICK = 0.005


class Loop(NamedTuple):
    """A loop for a while: the longest time for which it stood still, in ms, and its share of a processor in percent."""

    standstill: float
    share: float


class Found(NamedTuple):
    """What an attack did: to the supervisor's loop, to the bystander's, and whether the child lives and was heard."""

    what: str
    by: By
    supervisor: Loop
    bystander: Loop
    lives: bool
    heard: bool

    @property
    def share(self) -> float:
        """Percent of a processor, without what measuring takes."""
        return max(0.0, self.supervisor.share - self.bystander.share)

    @property
    def kept(self) -> bool:
        """Whether all bounds hold."""
        bound = _SHARE if self.by == "stranger" else _CHILDS_SHARE
        return self.lives and self.heard and self.supervisor.standstill <= _STANDSTILL and self.share <= bound


def _waited() -> float:
    """Seconds for which this thread was ready to run and did not, since others had the processor."""
    return int(Path("/proc/thread-self/schedstat").read_text("ascii").split()[1]) / 1e9


async def watched(seconds: float) -> Loop:
    """This loop for so long. What it waited for a processor is no standstill of its own."""
    longest = 0.0
    began, used = time.monotonic(), time.process_time()
    while (before := time.monotonic()) < began + seconds:
        waited = _waited()
        await asyncio.sleep(_TICK)
        longest = max(longest, time.monotonic() - before - _TICK - (_waited() - waited))
    used = time.process_time() - used
    return Loop(longest * 1000, 100 * used / (time.monotonic() - began))


async def _begin_bystander(seconds: float) -> asyncio.subprocess.Process:
    """To be done before the attack: a copy of this process closes what was sent to this one, too, and waits for it."""
    command = _python("benchmarks.strangers", "--bystander", str(seconds))
    return await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=subprocess.PIPE)


async def _seen_by(bystander: asyncio.subprocess.Process) -> Loop:
    output, _ = await bystander.communicate()
    return Loop(*json.loads(output))


def _variable(child: ChildHandle, name: str) -> str:
    entries = Path(f"/proc/{child.os_pid}/environ").read_bytes().split(b"\0")
    return next(e for e in entries if e.startswith(name.encode() + b"=")).partition(b"=")[2].decode()


def _victim(flag: str, order: list[str], inside: bool) -> SpawnParams:
    """The child; where it is attacked from within, the attacker is its root, and the child itself below it."""
    script = 'exec 3<&0; "$0" -m benchmarks.victim "$1" <&3 3<&- & shift; exec "$0" -m benchmarks.stranger "$@"'
    args = ("sh", "-c", script, sys.executable, flag, *order) if inside else _python("benchmarks.victim", flag)
    return SpawnParams(args[0], args[1:], cwd=str(ROOT), stdout="null", notify=True, watchdog=_WATCHDOG, control="path")


def _python(module: str, *args: str) -> tuple[str, ...]:
    return (sys.executable, "-m", module, *args)


async def attack(what: str, by: By, seconds: float, processes: int = 4) -> Found:
    """One attack, and what it did."""
    server = ControlServer(hello_timeout=seconds + 3 * _PATIENCE)
    with tempfile.TemporaryDirectory() as directory:
        flag = Path(directory, "flag")
        async with LocalProcessManager(control=server) as manager:
            inside = by == "child" and what != "nothing"
            child = await manager.spawn_child(_victim(str(flag), [what, "own", str(seconds), str(processes)], inside))
            ready = await manager.wait_ready(child.pid, 3 * _PATIENCE)
            name = "NOTIFY_SOCKET" if what in DATAGRAMS else "TREEGUARD_CONTROL_SOCKET"
            process = await _begin_bystander(seconds)
            stranger = None
            if not inside and what != "nothing":
                where = _variable(child, name)
                command = _python("benchmarks.stranger", what, where, str(seconds), str(processes))
                stranger = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
                assert stranger.stdout is not None
                await asyncio.to_thread(stranger.stdout.readline)
            supervisor, bystander = await asyncio.gather(watched(seconds), _seen_by(process))
            if stranger is not None:
                await asyncio.to_thread(stranger.communicate)
            told = manager.notify_status(child.pid)
            lives = ready and told is not None and not told.hung
            flag.touch()  # noqa: ASYNC240 - a moment
            heard = await server.wait_attached(child.pid, _PATIENCE)
    return Found(what, by, supervisor, bystander, lives, heard)


def _table(found: list[Found]) -> str:
    rows = [
        "| sent by | what | standstill, ms | of a processor, % | bystander, ms | bystander, % | child | |",
        "|---|---|---:|---:|---:|---:|---|---|",
    ]
    for each in found:
        state = "lives, is heard" if each.lives and each.heard else "lives" if each.lives else "DEAD"
        rows.append(
            f"| {each.by} | {each.what} | {each.supervisor.standstill:.1f} | {each.share:.1f} |"
            f" {each.bystander.standstill:.1f} | {each.bystander.share:.1f} | {state} |"
            f" {'kept' if each.kept else 'BROKEN'} |"
        )
    return "\n".join(rows)


def main() -> int:
    """Prints a table; fails where a bound is broken."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.strangers", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each attack lasts")
    parser.add_argument("--processes", type=int, default=4, help="how many attack at once")
    parser.add_argument("--only", nargs="+", choices=ATTACKS, default=list(ATTACKS), metavar="WHAT")
    parser.add_argument("--bystander", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.bystander is not None:
        print(json.dumps(asyncio.run(watched(options.bystander))))
        return 0
    logging.disable()
    whose = "another user" if os.geteuid() == 0 else "the same user, outside of the tree"
    print(f"A stranger is of {whose}; {options.processes} processes send, {options.seconds:g} s long.\n")
    found = [
        asyncio.run(attack(what, by, options.seconds, options.processes))
        for by in ("stranger", "child")
        for what in options.only
        if (by, what) != ("child", "nothing")
    ]
    print(_table(found))
    return int(not all(each.kept for each in found))


if __name__ == "__main__":
    sys.exit(main())
