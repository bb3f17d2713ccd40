"""The stress run: many short trees, many that live at a time, and kills of guards and supervisors at random.

    python -m tests.stress [--seconds 600] [--trees 50000] [--alive 5000] [--hostile 120] [--seed N]

This process is the judge. It adopts whatever gets away from its supervisors, so that in the end it must have no child.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from treeguard.types import Mechanism

from ..support.adoption import Adoption
from ..support.judge import children, processes
from ..support.mechanisms import CONTAINING, EVERY
from ..support.patience import PATIENCE
from ..support.programs import Programs, build
from . import worker
from .siege import run_sieges

#: A share of the time for the crowd; the rest is churn.
_CROWD_SHARE = 0.3
#: Seconds between two kills of a supervisor, on average.
_KILLS = 2.0
#: By how much memory may have grown between the first reports and the last, of a supervisor that was not killed.
_GROWTH = 1.10
#: Reports that come before all caches and the remembered exits are full.
_WARM_UP_TREES = 3000


class Worker:
    """A forked supervisor, and what it last reported."""

    def __init__(self, work: Callable[..., None], *arguments: Any) -> None:
        self._read, write = os.pipe()
        os.set_blocking(self._read, False)
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                work(*arguments, write)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        os.close(write)
        self._text = b""
        self.reports: list[dict[str, int]] = []
        #: The exit code, None as long as it lives.
        self.code: int | None = None

    def listen(self) -> dict[str, int]:
        """The last report."""
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._read, 65536):
                self._text += data
        *lines, self._text = self._text.split(b"\n")
        self.reports += map(json.loads, lines)
        return self.reports[-1] if self.reports else {}

    def close(self) -> None:
        self.listen()
        os.close(self._read)


class Judge:
    """Reaps, counts, and keeps to the time."""

    def __init__(self, seed: int, programs: Programs) -> None:
        self.chance = random.Random(seed)
        self.programs = programs
        self._living: dict[int, Worker] = {}

    def start(self, work: Callable[..., None], *arguments: Any) -> Worker:
        """A supervisor."""
        one = Worker(work, *arguments)
        self._living[one.pid] = one
        return one

    def reap(self) -> None:
        """Everything that has fallen to this process."""
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                # Numbers of orphans may have been those of supervisors before.
                one = self._living.pop(found[0], None)
                if one is not None:
                    one.code = os.waitstatus_to_exitcode(found[1])

    def kill_all(self) -> None:
        """After a failure."""
        for pid in self._living:
            os.kill(pid, signal.SIGKILL)

    def pause(self, seconds: float) -> None:
        """Reaps meanwhile."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.reap()
            time.sleep(min(left, 0.01))  # what is to happen in this time is up to chance; zombies must not pile up

    def wait(self, condition: Callable[[], bool], what: str, seconds: float) -> float:
        """Waits, and reaps meanwhile. How long it took."""
        begun = time.monotonic()
        while not condition():
            assert time.monotonic() - begun < seconds, f"not within {seconds:g} s: {what}"
            self.pause(0.01)
        return time.monotonic() - begun

    def seed(self) -> int:
        return self.chance.getrandbits(32)

    def nothing_left(self) -> float:
        """Waits until this process has no child. How long that took."""
        try:
            return self.wait(lambda: not children(), "nothing is left", 3 * PATIENCE)
        except AssertionError:
            print(*children().values(), sep="\n")
            raise


def say(text: str) -> None:
    print(text, flush=True)


def run_crowd(judge: Judge, size: int, until: float) -> None:
    """As many trees as that, alive at once, for each mechanism its share; then half of the supervisors are killed."""
    shares = [size // len(EVERY) + (i < size % len(EVERY)) for i in range(len(EVERY))]
    read, go = os.pipe()
    workers = [
        judge.start(worker.crowd, mechanism, judge.programs, judge.seed(), share, read)
        for mechanism, share in zip(EVERY, shares, strict=True)
    ]
    os.close(read)
    begun = time.monotonic()

    def all_there() -> bool:
        assert not any(one.code is not None for one in workers), "a supervisor has failed"
        return all(one.listen().get("trees") for one in workers)

    took = judge.wait(all_there, f"{size} trees live", max(1.0, until - begun))
    alive = sum(max(report["alive"] for report in one.reports) for one in workers)
    assert alive == size
    say(f"  {alive} trees alive at once ({', '.join(f'{s} {m}' for m, s in zip(EVERY, shares, strict=True))})")
    say(f"  {sum(1 for _ in processes())} processes on the machine, after {took:.1f} s")
    say(f"  guards killed among them: {sum(one.reports[-1]['guards'] for one in workers)}")
    for one, mechanism in zip(workers, EVERY, strict=True):
        last = one.reports[-1]
        say(f"  {mechanism}: {last['memory'] / 2**20:.1f} MiB, {last['descriptors']} descriptors")
    # A process group alone would leave nothing but roots either, since these have no descendants.
    for one in workers[::2]:
        os.kill(one.pid, signal.SIGKILL)
    os.write(go, b"x" * len(workers))
    os.close(go)
    took = judge.nothing_left()
    for one in workers:
        one.close()
    say(f"  {len(workers[::2])} of {len(workers)} supervisors killed, the others left; all gone after {took:.2f} s")
    assert all(one.code == 0 for one in workers[1::2])


def run_churn(judge: Judge, trees: int, until: float) -> None:
    """Short trees until the time is over: a supervisor for each mechanism that stays, and one that is killed."""

    def start(mechanism: Mechanism) -> Worker:
        return judge.start(worker.churn, mechanism, judge.programs, judge.seed(), until)

    steady = {mechanism: start(mechanism) for mechanism in EVERY}
    # A supervisor of process groups that is killed leaves what it must: it is not one of these.
    shaky = {mechanism: start(mechanism) for mechanism in CONTAINING}
    past: list[Worker] = []
    while time.monotonic() < until:
        judge.pause(min(judge.chance.uniform(0, 2 * _KILLS), max(0.0, until - time.monotonic())))
        if time.monotonic() >= until:
            break
        mechanism = judge.chance.choice(list(shaky))
        victim = shaky[mechanism]
        assert victim.code is None, "a supervisor has failed"
        os.kill(victim.pid, signal.SIGKILL)
        victim.listen()
        past.append(victim)
        shaky[mechanism] = start(mechanism)
        for one in [*steady.values(), *shaky.values()]:
            one.listen()
    took = judge.nothing_left()
    everyone = [*steady.values(), *shaky.values(), *past]
    for one in everyone:
        one.close()
    total = sum(one.reports[-1]["trees"] for one in everyone if one.reports)
    guards = sum(one.reports[-1]["guards"] for one in everyone if one.reports)
    say(f"  {total} short trees, {guards} guards and {len(past)} supervisors killed; all gone after {took:.2f} s")
    failed = [one.pid for one in [*steady.values(), *shaky.values()] if one.code != 0]
    assert not failed, f"supervisors {failed} have failed"
    for mechanism, one in steady.items():
        judge_flat(mechanism, one.reports)
    assert total >= trees, f"{total} trees in the time, not {trees}"


def judge_flat(mechanism: Mechanism, reports: list[dict[str, int]]) -> None:
    """Descriptors and memory of a supervisor that was not killed."""
    warm = [report for report in reports if report["trees"] >= min(_WARM_UP_TREES, reports[-1]["trees"] // 2)]
    tenth = max(1, len(warm) // 10)
    first, last = warm[:tenth], warm[-tenth:]

    def typical(some: list[dict[str, int]], name: str) -> int:
        return sorted(report[name] for report in some)[len(some) // 2]

    memory = [typical(some, "memory") for some in (first, last)]
    descriptors = [max(report["descriptors"] for report in some) for some in (first, last)]
    say(
        f"  {mechanism}: {reports[-1]['trees']} trees; "
        f"memory {memory[0] / 2**20:.1f} -> {memory[1] / 2**20:.1f} MiB, "
        f"descriptors at most {descriptors[0]} -> {descriptors[1]}, {reports[-1]['descriptors']} in the end"
    )
    assert memory[1] <= memory[0] * _GROWTH, f"memory of {mechanism} has grown"
    assert reports[-1]["descriptors"] <= reports[0]["descriptors"], f"descriptors of {mechanism} are left"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.stress", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600, help="how long it takes (default: %(default)g)")
    parser.add_argument("--trees", type=int, default=50_000, help="short trees at least (default: %(default)s)")
    parser.add_argument("--alive", type=int, default=5_000, help="trees alive at once (default: %(default)s)")
    parser.add_argument(
        "--hostile", type=float, default=120, help="of that, seconds of hostile trees (default: %(default)g)"
    )
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    options = parser.parse_args()
    begun = time.monotonic()
    say(
        f"seed {options.seed}: python -m tests.stress --seconds {options.seconds:g} --trees {options.trees} "
        f"--alive {options.alive} --hostile {options.hostile:g} --seed {options.seed}"
    )
    with tempfile.TemporaryDirectory() as directory, Adoption():
        if options.hostile > 0:
            say("hostile:")
            # Of its own, so that one seed makes the same sieges however long they go on.
            run_sieges(random.Random(options.seed), build(Path(directory)), begun + options.hostile, say)
        if options.hostile >= options.seconds:
            return
        judge = Judge(options.seed, build(Path(directory)))
        try:
            say("crowd:")
            rest = options.seconds - options.hostile
            run_crowd(judge, options.alive, time.monotonic() + rest * _CROWD_SHARE)
            say("churn:")
            run_churn(judge, options.trees, begun + options.seconds - 5)
        except BaseException:
            judge.kill_all()
            raise
    say(f"nothing left, after {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
