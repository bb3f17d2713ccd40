"""The hostile stress run: random attacks on guards and supervisors, while trees are killed, left, and lose supervisors.

    python -m tests.stress.hostile [--seconds 120] [--seed N]

Nothing may survive a supervisor that lives; what may survive its SIGKILL is what docs/threats.md says
(:func:`tests.support.hostile.outcome`). Each siege is told before it begins: a seed and a number say which failed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pytest

from ..support.adoption import Adoption
from ..support.hostile import ATTACKS, BOUND, ESCAPE
from ..support.mechanisms import CONTAINING
from ..support.ordinary import USERS, reachable
from ..support.programs import Programs, build
from ..support.siege import Siege

__all__ = ["main"]

#: What every siege has anyhow; and the second fault, after which less is promised.
_APART = {ESCAPE, "stop_newborns", "kill_guard"}
_MOST_AT_ONCE = 4


def choose(dice: random.Random, mechanism: str) -> tuple[str, ...]:
    """Some attacks that can be made on this mechanism, all on the same victim."""
    victim = dice.choice(["guard", "guard", "guard", "supervisor"])
    fitting = [
        name
        for name, attack in ATTACKS.items()
        if name not in _APART and attack.only in ("", mechanism) and attack.victim == victim
    ]
    return tuple(dice.sample(fitting, dice.randint(1, min(_MOST_AT_ONCE, len(fitting)))))


def end(siege: Siege, how: str) -> None:
    """Ends the tree in one of the ways there are. AssertionError: something is left that may not be."""
    begun = time.monotonic()
    if how == "supervisor killed":
        siege.kill_supervisor()
    left = siege.may_be_left(supervisor_lives=how != "supervisor killed")
    if left.lasts:
        siege.tree.end_attacks()
        begun = time.monotonic()
    if how == "killed":
        assert siege.perform("kill", 1) == "done"
        answer = siege.perform("wait", 1, BOUND)
        assert answer is True or (left.stays and answer == "GuardLost"), answer
        assert left.stays or not siege.tree.traces
    elif how == "left":
        assert siege.perform("leave") == "done"
    if not left.stays:
        siege.wait_gone(begun)


def besiege(programs: Programs, dice: random.Random, adoption: Adoption, number: int) -> str:
    """One siege. What came of it."""
    mechanism, user = dice.choice(CONTAINING), dice.choice(list(USERS))
    attacks, mode = choose(dice, mechanism), dice.choice(["once", "loop"])
    how = dice.choice(["killed", "left", "supervisor killed"])
    print(f"{number}: {mechanism}, {user}, {mode}, {how}: {', '.join(attacks)}", flush=True)
    siege = Siege(programs, mechanism, attacks, mode, USERS[user], adoption)
    try:
        siege.__enter__()
    except (pytest.skip.Exception, AssertionError) as reason:
        # One attack keeps another from being made: a tree that freezes or leaves itself makes no more.
        return f"not made: {reason}"
    with contextlib.ExitStack() as stack:
        stack.push(siege)
        try:
            end(siege, how)
        except AssertionError as error:
            return f"FAILED: {error}"
    return "ended"


def main() -> int:
    """Besieges supervisors until the time is over."""
    parser = argparse.ArgumentParser(prog="python -m tests.stress.hostile", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else int.from_bytes(os.urandom(4), "big")
    print(f"seed {seed}", flush=True)
    dice, deadline, said = random.Random(seed), time.monotonic() + options.seconds, Counter[str]()
    with (
        tempfile.TemporaryDirectory() as directory,
        reachable(build(Path(directory))) as programs,
        Adoption() as adoption,
    ):
        while time.monotonic() < deadline:
            answer = besiege(programs, dice, adoption, said.total() + 1)
            if answer != "ended":
                print(f"{said.total() + 1}: {answer}", flush=True)
            said[answer.partition(":")[0]] += 1
    print(f"{said.total()} sieges: {dict(said)}, seed {seed}")
    return int(said["FAILED"] > 0 or said["ended"] <= said["not made"])


if __name__ == "__main__":
    sys.exit(main())
