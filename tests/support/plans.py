"""Trees of any shape: told by a line of text that the adversary program reads, and predicted from it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["LETTERS", "Node", "Plan", "plan"]

#: What a process may do, in this order: become an orphan, lead a session, lead a group, begin anew with an empty
#: environment, ignore and block signals, adopt orphans, close its descriptors, stop itself, end by itself, go on
#: forking, end its main thread while another one works.
LETTERS = "osgcirqtxhz"


class Plan(NamedTuple):
    """A process that is to be, and its children."""

    letters: str = ""
    children: tuple[Plan, ...] = ()

    def __str__(self) -> str:
        return f"{self.letters}({''.join(map(str, self.children))})"

    def __repr__(self) -> str:
        return f"plan({str(self)!r})"

    @property
    def size(self) -> int:
        """How many processes report."""
        return 1 + sum(child.size for child in self.children)

    def has(self, letter: str) -> bool:
        """Whether any of them does this."""
        return letter in self.letters or any(child.has(letter) for child in self.children)

    def nodes(self) -> Iterator[Node]:
        """All processes, the root first."""
        return _nodes(self, in_group=True, deaf=False, root=True)


class Node(NamedTuple):
    """What is known of a process beforehand."""

    #: Whether it stays in the root's group.
    in_group: bool
    #: Whether it hears no signals, itself or as it was born.
    deaf: bool
    #: Whether it stays until somebody ends it.
    stays: bool
    #: Whether it can be said what SIGTERM to its group does to it.
    certain: bool


def _nodes(one: Plan, *, in_group: bool, deaf: bool, root: bool) -> Iterator[Node]:
    # A root leads its group already: it can neither make one nor a session.
    in_group = in_group and (root or not set("sg") & set(one.letters))
    deaf = deaf or "i" in one.letters
    stays = not set("xh") & set(one.letters)
    yield Node(in_group, deaf, stays, certain=not set("th") & set(one.letters))
    for child in one.children:
        yield from _nodes(child, in_group=in_group, deaf=deaf, root=False)


def plan(text: str) -> Plan:
    """Reads what ``str`` makes of a plan."""
    one, rest = _read(text)
    assert not rest
    return one


def _read(text: str) -> tuple[Plan, str]:
    letters, _, rest = text.partition("(")
    children = []
    while not rest.startswith(")"):
        child, rest = _read(rest)
        children.append(child)
    return Plan(letters, tuple(children)), rest[1:]
