"""What a life asks of the system, counted: ``python -m benchmarks.cost [--record]``.

Counts do not depend on how busy a machine is. System calls are those of supervisor, guard and root together, as strace
sees them; calls are those of functions out of treeguard's own Python. A count a tenth above the one on record
(``cost.json``) is an error.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

import treeguard
from treeguard import ContainmentUnavailable, LocalProcessManager, SpawnParams
from treeguard.types import Mechanism

from .build import build_target

__all__ = ["RECORD", "Counts", "dearer", "measure", "totals"]

#: By what is done, what it took.
Counts = dict[str, float]

RECORD = Path(__file__).with_name("cost.json")
MARGIN = 1.10
RETRIES = 6
#: A life in which the root ends by itself, one that is ended by a kill, and one of a tree of ten that is. Without a
#: guard the end of a group is looked for in /proc, which depends on who else runs.
ENDS: dict[Mechanism, tuple[str, ...]] = {
    "process_group": ("ended", "killed"),
    "subreaper": ("ended", "killed", "ten killed"),
    "cgroup": ("ended", "killed", "ten killed"),
}
FEW, MANY = 10, 60
_PACKAGE = str(Path(treeguard.__file__).parent)


async def live(mechanism: Mechanism, end: str, lives: int, extra: int) -> int:
    """So many lives, with ``extra`` descriptors passed on to each. Returns the number of function calls."""
    target = build_target()
    calls = 0

    def count(frame: FrameType, event: str, _: object) -> None:
        nonlocal calls
        if event in ("call", "c_call") and frame.f_code.co_filename.startswith(_PACKAGE):
            calls += 1

    fds = tuple(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC) for _ in range(extra))
    async with LocalProcessManager(containment=mechanism) as manager:
        sys.setprofile(count)
        for _ in range(lives):
            reader, writer = os.pipe2(os.O_CLOEXEC)
            args = {"ended": (), "killed": ("wide", "1"), "ten killed": ("wide", "10")}[end]
            child = await manager.spawn_child(SpawnParams(program=target, args=args, stdout=writer, pass_fds=fds))
            os.close(writer)
            # Each process that is up has written a byte; the last to end closes the pipe.
            size = 0 if end == "ended" else int(args[1])
            while size > 0:
                size -= len(os.read(reader, size))
            if end != "ended":
                await manager.kill_tree(child.pid)
            await manager.wait_for_exit(child.pid)
            os.close(reader)
        sys.setprofile(None)
    return calls


def _traced(mechanism: Mechanism, end: str, lives: int, extra: int) -> collections.Counter[str]:
    """System calls of a process with so many lives, by name; and its function calls."""
    with tempfile.NamedTemporaryFile("r", suffix=".strace") as report:
        command = ["strace", "-f", "-qq", "-c", "-U", "name,calls", "-o", report.name]
        command += [sys.executable, "-m", "benchmarks.cost", "--live", mechanism, end, str(lives), str(extra)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        rows = [line.split() for line in report.read().splitlines()]
    counts = collections.Counter({name: int(calls) for name, calls in rows[2:-2]})
    counts["function calls"] = int(done.stdout)
    return counts


def measure(mechanism: Mechanism, end: str, extra: int = 0) -> dict[str, float]:
    """What one life takes, by name: many lives less few, so that what is done once does not count."""
    many, few = (_traced(mechanism, end, lives, extra) for lives in (MANY, FEW))
    each = {name: (many[name] - few[name]) / (MANY - FEW) for name in many}
    return {name: round(count, 2) for name, count in sorted(each.items()) if count >= 0.05}


def totals(counts: Mapping[str, float]) -> Counts:
    """System calls, and function calls."""
    calls = counts["function calls"]
    return {"system calls": round(sum(counts.values()) - calls, 1), "function calls": calls}


def dearer(found: Mapping[str, Counts], record: Mapping[str, Counts]) -> list[str]:
    """What has risen by more than the margin above the record."""
    return [
        f"{what}: {count:g} {name}, were {record[what][name]:g}"
        for what, counts in found.items()
        for name, count in counts.items()
        if count > record[what][name] * MARGIN
    ]


def _available(mechanism: Mechanism) -> bool:
    try:
        return bool(LocalProcessManager(containment=mechanism).containment)
    except ContainmentUnavailable:
        return False


def check(record: bool, detail: bool, extra: int) -> int:
    """Counts, and compares or records."""
    if shutil.which("strace") is None:
        print("strace is not installed", file=sys.stderr)
        return 2
    known: dict[str, Counts] = {} if record else json.loads(RECORD.read_text(encoding="utf-8"))
    found = {}
    for mechanism in filter(_available, ENDS):
        for end in ENDS[mechanism]:
            what = f"{mechanism}, {end}"
            counts = measure(mechanism, end, extra)
            found[what] = totals(counts)
            # On a busy machine a life may look once more for what is not there yet, but never less often than it must.
            for _ in range(RETRIES):
                if record or not dearer({what: found[what]}, known):
                    break
                counts = measure(mechanism, end, extra)
                found[what] = min(found[what], totals(counts), key=lambda each: sum(each.values()))
            print(what, *(f"{count:g} {name}" for name, count in found[what].items()), sep=": ", flush=True)
            if detail:
                print("  ", ", ".join(f"{name} {count:g}" for name, count in counts.items()))
    if record:
        RECORD.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        return 0
    risen = dearer(found, known)
    for line in risen:
        print(f"dearer: {line}", file=sys.stderr)
    return int(bool(risen))


def main() -> int:
    """Counts."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cost", description=__doc__)
    parser.add_argument("--record", action="store_true", help="let the counts be the ones on record")
    parser.add_argument("--detail", action="store_true", help="print each system call")
    parser.add_argument("--extra", type=int, default=0, help="pass so many descriptors on: dearer on purpose")
    parser.add_argument("--live", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.live:
        mechanism, end, lives, extra = options.live
        print(asyncio.run(live(mechanism, end, int(lives), int(extra))))
        return 0
    return check(options.record, options.detail, options.extra)


if __name__ == "__main__":
    sys.exit(main())
