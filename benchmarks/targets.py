"""What it may cost: bounds on ratios, which hold on any machine, and on what is counted."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from .report import ratios
from .samples import Result, summary

__all__ = ["Verdict", "verdicts"]

_PROMISE = ("subreaper", "cgroup")
_ALL = (*_PROMISE, "process_group")
_LIFE = "1 life, alone"


class Verdict(NamedTuple):
    """A bound, and what was found. None: a contender was not there."""

    text: str
    found: float | None
    bound: float

    @property
    def kept(self) -> bool:
        """Whether the bound holds; what was not measured breaks none."""
        return self.found is None or self.found <= self.bound


def verdicts(results: list[Result]) -> list[Verdict]:
    """All bounds."""
    medians = {(r.line, r.name): summary(r.values).median for r in results}
    relative = ratios(results)

    def quotient(ours: tuple[str, str], theirs: tuple[str, str]) -> float | None:
        return medians[ours] / medians[theirs] if ours in medians and theirs in medians else None

    group = 0.5 if sys.version_info < (3, 12) else 0.7
    found = [Verdict("life, process_group, to asyncio", relative.get((_LIFE, "process_group")), group)]
    for name in _PROMISE:
        found.append(Verdict(f"life, {name}, to asyncio", relative.get((_LIFE, name)), 1.0))
    for name in _ALL:
        lean, fat = (f"4 {mib} MiB, 1 fds, 10 variables" for mib in (16, 1024))
        found.append(Verdict(f"life, {name}, 1 GiB to 16 MiB", quotient((fat, name), (lean, name)), 1.15))
        found.append(
            Verdict(f"life, {name}, beside 1,000 trees", relative.get(("5 life, beside trees", f"{name}, 1000")), 1.15)
        )
        peer = quotient((_LIFE, name), (_LIFE, "processkit-py"))
        found.append(Verdict(f"life, {name}, to processkit-py", peer, 0.25))
    for name in _PROMISE:
        found.append(Verdict(f"kill of 1,000, {name}, to C", relative.get(("7 kill, wide, 1,000", name)), 1.3))
        found.append(Verdict(f"guard, private KiB, {name}", medians.get(("9 memory", f"guard, private, {name}")), 100))
        found.append(
            Verdict(f"100 gone after SIGKILL, ms, {name}", medians.get(("8 supervisor killed, 1 x 100", name)), 50)
        )
    for name in _ALL:
        found.append(Verdict(f"tree in Python, KiB, {name}", medians.get(("9 memory", f"tree in Python, {name}")), 4))
        found.append(Verdict(f"idle, ms, {name}", medians.get(("11 idle, 1,000 trees", name)), 0))
    found += _of_commands(medians, relative)
    tokio = quotient((_LIFE, "process_group"), (_LIFE, "tokio, group, death signal"))
    found.append(Verdict("life, process_group, to tokio with death signal", tokio, 0.7))
    return found


def _of_commands(
    medians: Mapping[tuple[str, str], float], relative: Mapping[tuple[str, str], float]
) -> Iterator[Verdict]:
    """Of lines 12 to 15, beside the standard library."""
    for name in _ALL:
        bound = 1.0 if name == "process_group" else 1.3
        yield Verdict(f"run true, {name}, to subprocess.run", relative.get(("12 run true", name)), bound)
    for line, name in sorted(relative):
        if name == "treeguard" and line.startswith(("13 ", "14 ")):
            yield Verdict(f"{line[3:]}, to the standard library", relative[line, name], 1.1)
    late = [medians[line, name] for line, name in medians if line.startswith("15 ") and name == "treeguard"]
    yield Verdict("worst delay of the loop while 200 stream, ms", late[0] if late else None, 20)
