"""Random trees and random verbs against a model of what must have become of each tree: the same in every world."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from ..support.patience import PATIENCE
from ..support.plans import LETTERS, Node, Plan
from .worlds import World

__all__ = ["TreeMachine", "plans"]

#: Trees that live at a time, and processes of one.
_MOST_TREES, _MOST_PROCESSES = 6, 12


def _ordered(letters: set[str]) -> str:
    return "".join(sorted(letters, key=LETTERS.index))


def _peaceful(shape: Plan) -> Plan:
    """Where some are stopped, nobody ends by itself: a group that is orphaned with stopped members gets SIGHUP."""
    return _without(shape, "oxh") if shape.has("t") else shape


def _without(shape: Plan, letters: str) -> Plan:
    kept = "".join(letter for letter in shape.letters if letter not in letters)
    return Plan(kept, tuple(_without(child, letters) for child in shape.children))


def _assembled(root: str, others: list[tuple[str, int]]) -> Plan:
    """Each of the others is a child of one before it."""
    made: list[tuple[str, list[int]]] = [(root, [])]
    for letters, parent in others:
        made.append((letters, []))
        made[parent % (len(made) - 1)][1].append(len(made) - 1)

    def plan_of(index: int) -> Plan:
        letters, children = made[index]
        return Plan(letters, tuple(map(plan_of, children)))

    return plan_of(0)


_letters = st.sets(st.sampled_from(LETTERS), max_size=3).map(_ordered)
_others = st.lists(st.tuples(_letters, st.integers(0, _MOST_PROCESSES)), max_size=_MOST_PROCESSES - 1)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Trees of any shape. A root is nobody's orphan."""
    return _peaceful(_assembled(draw(_letters).replace("o", ""), draw(_others)))


class _Tree:
    """What is known of a tree."""

    def __init__(self, number: int, shape: Plan, parent: _Tree | None, grown: bool) -> None:
        self.number = number
        self.shape = shape
        self.parent = parent
        self.grown = grown
        self.below: list[_Tree] = []
        #: Whether it was killed, told to terminate, lost its guard; whether it is frozen, and ever was.
        self.killed = self.terminated = self.lost = self.frozen = self.was_frozen = False
        if parent is not None:
            parent.below.append(self)

    def __repr__(self) -> str:
        return f"tree {self.number}"

    def subtree(self) -> Iterator[_Tree]:
        for child in self.below:
            yield from child.subtree()
        yield self

    def _survives(self, node: Node) -> bool:
        """Whether a process certainly lives, after all that was done to the tree."""
        if not self.grown or self.killed or not node.stays:
            return False
        if self.terminated:
            return node.deaf or (not node.in_group and node.certain and not self.was_frozen and not self.shape.has("t"))
        return node.deaf or not self.shape.has("t") or not self.was_frozen

    def survivors(self, group: bool) -> int:
        """How many of its processes certainly live; with ``group`` only those of the root's group count."""
        return sum(self._survives(node) for node in self.shape.nodes() if node.in_group or not group)

    def must_end(self, group: bool) -> bool:
        """Whether nothing of it can be left, or soon will be."""
        if self.killed:
            return True
        ends = [
            node.certain and (not node.stays or (self._hears_its_end and node.in_group and not node.deaf))
            for node in self.shape.nodes()
            if node.in_group or not group
        ]
        return all(ends)

    @property
    def _hears_its_end(self) -> bool:
        return self.grown and self.terminated and not self.frozen


class TreeMachine(RuleBasedStateMachine):
    """Drives a world. A run that fails is printed as a script of these calls."""

    mechanism: ClassVar[str]
    #: Seconds that a graceful shutdown waits for what will not come.
    hurry: ClassVar[float] = 0.02

    def __init__(self) -> None:
        super().__init__()
        self.world = self.make_world()
        self.trees: list[_Tree] = []
        self.number = 0

    def make_world(self) -> World:
        """A new one."""
        raise NotImplementedError("each machine has a world of its own")

    def teardown(self) -> None:
        self.world.close()

    @property
    def contains(self) -> bool:
        return self.mechanism != "process_group"

    # What is known.

    def _pick(self, which: int) -> _Tree | None:
        """No precondition says whether there is one: what can be done next must not depend on what the system does."""
        return self.trees[which % len(self.trees)] if self.trees else None

    def _surely_lives(self, tree: _Tree) -> bool:
        """Whether it cannot be told empty now."""
        return any(each.survivors(not self.contains) for each in tree.subtree())

    def _must_end(self, tree: _Tree) -> bool:
        return all(each.must_end(not self.contains) for each in tree.subtree())

    def _forget(self, tree: _Tree) -> None:
        gone = set(tree.subtree())
        self.trees = [each for each in self.trees if each not in gone]
        if tree.parent is not None:
            tree.parent.below.remove(tree)

    def _judge_gone(self, tree: _Tree) -> None:
        """Now, not soon: the manager has said so."""
        for each in tree.subtree():
            left = self.world.living(each.number) if self.contains else self.world.group(each.number)
            assert not left, f"{each} was told empty, but {left} live"

    def _judge_ended(self, tree: _Tree) -> None:
        assert self.world.perform("wait", tree.number, PATIENCE) is True
        self._judge_gone(tree)
        self._forget(tree)

    def _spawn(self, shape: Plan, above: int | None, patience: int | None, grown: bool) -> None:
        if len(self.trees) == _MOST_TREES:
            return
        parent = None if above is None else self._pick(above)
        self.number += 1
        number = self.number
        answer = self.world.spawn(number, shape, None if parent is None else parent.number, patience, grown)
        if isinstance(answer, int):
            self.trees.append(_Tree(number, shape, parent, grown))
        elif answer == "ProcessEnded":
            assert parent is not None
            assert not self._surely_lives(parent)
        else:
            assert answer == "cancelled"
            assert patience is not None
            assert not self.contains or not self.world.living(number)

    # What is done.

    which = st.integers(0, _MOST_TREES - 1)

    @rule(shape=plans(), above=st.none() | which, grown=st.sampled_from([True, True, True, False]))
    def spawn(self, shape: Plan, above: int | None, grown: bool) -> None:
        self._spawn(shape, above, None, grown)

    @rule(shape=plans(), above=st.none() | which, patience=st.integers(0, 30))
    def cancel_spawn(self, shape: Plan, above: int | None, patience: int) -> None:
        self._spawn(shape, above, patience, False)

    @rule(which=which)
    def kill(self, which: int) -> None:
        tree = self._pick(which)
        if tree is None:
            return
        assert self.world.perform("kill", tree.number) == "done"
        self._judge_ended(tree)

    @rule(which=which)
    def terminate(self, which: int) -> None:
        tree = self._pick(which)
        if tree is None:
            return
        assert self.world.perform("terminate", tree.number) == "done"
        for each in tree.subtree():
            each.terminated = True

    @rule(which=which, agrees=st.booleans())
    def shut_down(self, which: int, agrees: bool) -> None:
        tree = self._pick(which)
        if tree is None:
            return
        lived = self._surely_lives(tree)
        acknowledged, exited, forced = self.world.perform("shutdown", tree.number, agrees, self.hurry)
        if lived:
            assert forced
            assert acknowledged == agrees
        assert exited or forced
        self._judge_ended(tree)

    @rule(which=which)
    def freeze(self, which: int) -> None:
        tree = self._pick(which)
        if tree is None:
            return
        answer = self.world.perform("freeze", tree.number)
        if answer != "done":
            assert answer in ("ProcessEnded", "TreeNotFrozen")
            assert not self._surely_lives(tree) or any(each.shape.has("h") for each in tree.subtree())
        for each in tree.subtree():
            each.frozen = answer == "done"
            each.was_frozen = True

    @rule(which=which)
    def thaw(self, which: int) -> None:
        tree = self._pick(which)
        if tree is None:
            return
        assert self.world.perform("thaw", tree.number) == "done"
        for each in tree.subtree():
            each.frozen = False

    @rule(which=which)
    def wait(self, which: int) -> None:
        tree = self._pick(which)
        if tree is None:
            return
        if self._must_end(tree):
            self._judge_ended(tree)
        elif self.world.perform("wait", tree.number, 0):
            assert not self._surely_lives(tree), f"{tree} was told empty"
            self._judge_ended(tree)

    @rule(which=which)
    def look(self, which: int) -> None:
        """Manager and judge see the same members."""
        tree = self._pick(which)
        if tree is None or not tree.grown or tree.shape.has("h"):
            return
        if self.contains:
            self.world.settled(
                lambda: set(self.world.perform("members", tree.number)) == self.world.living(tree.number),
                f"manager and judge see the same of {tree}",
            )
        survivors = tree.survivors(not self.contains)
        assert len(self.world.perform("members", tree.number)) >= survivors
        if survivors:
            assert self.world.perform("stats", tree.number) >= survivors

    @rule()
    def list_all(self) -> None:
        listed = self.world.perform("listed")
        for tree in self.trees:
            assert tree.number in listed or not self._surely_lives(tree)
        assert set(listed) <= {tree.number for tree in self.trees}

    @rule(which=which)
    def kill_guard(self, which: int) -> None:
        """A second fault: what was in the root's group is ended, and all of a cgroup; trees below live on.

        Who left the group and cleared its environment stays where there is no cgroup.
        """
        tree = self._pick(which)
        if tree is None or not self.contains:
            return
        lived = bool(tree.survivors(False))
        if not self.world.lose_guard(tree.number):
            assert not lived
            return
        for child in tree.below:
            if self._surely_lives(child):
                assert self.world.perform("wait", child.number, 0) is False
        assert self.world.perform("kill", tree.number) == "done"
        told = self.world.perform("wait", tree.number, PATIENCE)
        assert told in ((True,) if self.mechanism == "cgroup" else ("GuardLost",) if lived else ("GuardLost", True))
        for child in tree.below:
            self._judge_gone(child)
        left = self.world.living(tree.number) if self.mechanism == "cgroup" else self.world.group(tree.number)
        assert not left
        if self.mechanism != "cgroup":
            self.world.put_down(tree.number)
        self._forget(tree)

    @rule()
    def kill_supervisor(self) -> None:
        """Nobody tells when its trees have ended, but they do: without a guard at least their roots."""
        self.world.kill_supervisor()
        for tree in self.trees:
            self._await_gone(tree)
        self.trees = []

    def _await_gone(self, tree: _Tree) -> None:
        self.world.settled(
            lambda: not (self.world.living(tree.number) if self.contains else self.world.root_lives(tree.number)),
            f"{tree} ended with its supervisor",
        )

    @rule()
    def leave(self) -> None:
        assert self.world.perform("leave") == "done"
        for tree in self.trees:
            self._judge_gone(tree)
        assert not self.contains or self.world.nothing_else()
        self.world.kill_supervisor()
        self.trees = []
