"""Hostile trees at random: several attacks at a time, while trees are spawned, killed, frozen and shut down."""

from __future__ import annotations

import collections
import contextlib
import random
import time
from collections.abc import Callable

from treeguard.types import Mechanism

from ..support.adoption import Adoption
from ..support.hostile import ATTACKS, BOUND, ESCAPE
from ..support.mechanisms import CONTAINING
from ..support.ordinary import USERS, reachable
from ..support.playground import Playground
from ..support.programs import Programs
from ..support.siege import Siege

__all__ = ["run_sieges"]

#: Of one hostile tree, and of another one beside it.
_ATTACKS, _OTHERS = 4, 2
#: Nobody goes on after one of these: it is the last.
_FREEZING = ("freeze_leaf", "freeze_all")
_LAST = (*_FREEZING, "overwrite", "overwrite_file", "forge_empty", "hang_up", "hang_up_above", "kill_guard")
#: What is done to the trees, and how often in ten.
_ENDS = {"kill": 3, "shutdown": 1, "freeze": 1, "leave": 2, "sigkill": 3}


def _possible(mechanism: Mechanism, playground: Playground) -> list[str]:
    """The attacks that can be made here."""

    def can(name: str) -> bool:
        attack = ATTACKS[name]
        placed = not attack.place or getattr(playground, attack.place) is not None
        return name != ESCAPE and attack.only in ("", mechanism) and placed

    return [name for name in ATTACKS if can(name)]


def _pick(chance: random.Random, possible: list[str], most: int) -> tuple[str, ...]:
    picked = chance.sample(possible, chance.randint(1, most))
    # On guards, or on the supervisor: one kind of victim a tree.
    picked = [name for name in picked if ATTACKS[name].victim == ATTACKS[picked[0]].victim]
    return (*(name for name in picked if name not in _LAST), *[name for name in picked if name in _LAST][:1])


def _but(left_out: tuple[str, ...], attacks: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in attacks if name not in left_out)


class _Round:
    """One supervisor, one or two hostile trees, and their end."""

    def __init__(self, chance: random.Random, programs: Programs, adoption: Adoption) -> None:
        self._chance = chance
        self._programs = programs
        self._adoption = adoption
        self.mechanism = chance.choice(CONTAINING)
        self.user = chance.choice(list(USERS))
        with Playground(USERS[self.user]) as playground:
            possible = _possible(self.mechanism, playground)
        self.attacks = _pick(chance, possible, _ATTACKS)
        # A guard that stands in a freezer before it has reported the start is waited for until somebody thaws it.
        beside = [name for name in possible if name != "move_guard_into_freezer"]
        self.others = _pick(chance, beside, _OTHERS) if chance.random() < 0.5 else ()
        if "move_supervisor_in" in (*self.attacks, *self.others):
            # A supervisor that is frozen does nothing any more, as one that is stopped.
            self.attacks, self.others = _but(_FREEZING, self.attacks), _but(_FREEZING, self.others)
        # A process that moves to the frozen cgroup is frozen before it can report that.
        if "move_guard_into_frozen" in (*self.attacks, *self.others):
            self.attacks, self.others = _but(("move_self_out",), self.attacks), _but(("move_self_out",), self.others)
        self.mode = chance.choice(("once", "loop"))
        (self.end,) = chance.choices(list(_ENDS), list(_ENDS.values()))

    def __str__(self) -> str:
        beside = f" beside {'+'.join(self.others)}" if self.others else ""
        return f"{self.mechanism} {self.user} {self.mode} {'+'.join(self.attacks)}{beside}: {self.end}"

    def run(self) -> None:
        """Raises if anything is left that must not be."""
        with (
            Siege(self._programs, self.mechanism, self.attacks, self.mode, USERS[self.user], self._adoption) as siege,
            contextlib.ExitStack() as stack,
        ):
            if self.others:
                other = siege.beside = stack.enter_context(siege.hostile((ESCAPE, *self.others)))
                begun = time.monotonic()
                # It may be refused, or be ended at once, but the call comes back.
                siege.spawn(2, other)
                assert time.monotonic() - begun < 2 * BOUND, "a spawn hangs"
            {"leave": self._leave, "sigkill": self._sigkill}.get(self.end, self._end_tree)(siege)

    def _end_tree(self, siege: Siege) -> None:
        if not isinstance(siege.root, int):
            # A tree that ended its own guard before that had told of the start: the spawn raised.
            assert siege.may_be_left(supervisor_lives=True).lost, siege.root
            self._leave(siege)
            return
        left = siege.may_be_left(supervisor_lives=True)
        # A tree that has shut its own files cannot be frozen: that is an OSError. One that moves the supervisor into
        # its leaf in that moment has it frozen too, as it might have stopped it.
        unfit = {"shut_files", "move_supervisor_in"} & {*self.attacks, *self.others}
        if self.end == "freeze" and not unfit:
            siege.perform("freeze", 1)
        if left.lasts:
            siege.end_attacks()
        if self.end == "shutdown":
            siege.perform("shutdown", 1, False, 0.1)
        siege.perform("kill", 1)
        answer = siege.perform("wait", 1, 2 * BOUND)
        assert answer is True or (left.lost and answer == "GuardLost"), answer
        assert answer != True or not siege.tree.traces, siege.tree.traces  # noqa: E712 - an answer of JSON
        self._leave(siege)

    def _leave(self, siege: Siege) -> None:
        left = siege.may_be_left(supervisor_lives=True)
        if left.lasts:
            siege.end_attacks()
        begun = time.monotonic()
        answer = siege.perform("leave")
        assert answer == "done", answer
        if not left.stays:
            siege.wait_gone(begun + BOUND)

    def _sigkill(self, siege: Siege) -> None:
        siege.kill_supervisor()
        left = siege.may_be_left(supervisor_lives=False)
        if left.lasts:
            siege.end_attacks()
        if not left.stays:
            siege.wait_gone(time.monotonic() + BOUND)


def run_sieges(chance: random.Random, programs: Programs, until: float, say: Callable[[str], None]) -> None:
    """Besieges one supervisor after another until the time is over, and judges each."""
    ends: collections.Counter[str] = collections.Counter()
    made: collections.Counter[str] = collections.Counter()
    with Adoption() as adoption, reachable(programs) as copies:
        while time.monotonic() < until:
            one = _Round(random.Random(chance.getrandbits(32)), copies, adoption)
            try:
                one.run()
            except BaseException:
                say(f"  failed: {one}")
                raise
            ends[one.end] += 1
            made.update((*one.attacks, *one.others))
    say(f"  {ends.total()} sieges, {made.total()} attacks of {len(made)} kinds; {dict(ends)}")
