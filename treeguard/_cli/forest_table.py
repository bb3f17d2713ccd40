"""Guarded trees as a table for people: which rows and columns it has, and how it fits a terminal."""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from .._core.escaping import printable
from .forest import Forest, GuardedTree, Member, Owner

__all__ = ["Column", "Row", "columns_for", "fitted", "rows_of", "text_lines", "width_of"]

#: The first column is not made narrower than this while another can be left out, in characters.
_NARROWEST = 24
_GAP = 2
_CUT = "…"
_DAY = 86400


class Row(NamedTuple):
    """A row: an owner, a tree or a member. Only trees have more than the first column."""

    kind: str
    first: str
    tree: GuardedTree | None = None


class Column(NamedTuple):
    """A column behind the first. Those with the lowest ``weight`` are left out first if the terminal is narrow."""

    title: str
    weight: int
    right: bool
    text: Callable[[GuardedTree], str]


def _since(tree: GuardedTree) -> str:
    return time.strftime("%H:%M:%S" if tree.age < _DAY else "%Y-%m-%d", time.localtime(tree.since))


def _memory(tree: GuardedTree) -> str:
    size = float(tree.memory)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def _cpu(tree: GuardedTree) -> str:
    if tree.cpu < 60:
        return f"{tree.cpu:.2f} s"
    minutes, seconds = divmod(int(tree.cpu), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"


_COLUMNS = (
    Column("USER", 5, False, lambda tree: tree.user),
    Column("SINCE", 3, False, _since),
    Column("MECHANISM", 2, False, lambda tree: tree.mechanism),
    Column("STATE", 1, False, lambda tree: tree.state),
    Column("MEMBERS", 6, True, lambda tree: str(len(tree.members))),
    Column("MEMORY", 7, True, _memory),
    Column("CPU", 4, True, _cpu),
)


def columns_for(forest: Forest) -> list[Column]:
    """The columns behind the first. The user is only shown if the trees have several."""
    several = len({tree.uid for tree in forest.trees}) > 1
    return [column for column in _COLUMNS if column.title != "USER" or several]


def rows_of(forest: Forest, *, members: bool) -> list[Row]:
    """The rows: each owner with its trees below it, each tree with the owners within, and with its members."""
    known = {tree.id for tree in forest.trees}
    tops = [tree for tree in forest.trees if tree.parent not in known]
    below: dict[str, list[GuardedTree]] = {}
    for tree in forest.trees:
        if tree.parent in known:
            below.setdefault(str(tree.parent), []).append(tree)
    return list(_owners(tops, None, "", below, members))


def _by_owner(trees: Sequence[GuardedTree]) -> dict[int, list[GuardedTree]]:
    """In the order of their first trees; 0: those that were released."""
    found: dict[int, list[GuardedTree]] = {}
    for tree in trees:
        found.setdefault(0 if tree.owner is None else tree.owner.pid, []).append(tree)
    return found


def _owners(
    trees: Sequence[GuardedTree],
    above: GuardedTree | None,
    indent: str,
    below: dict[str, list[GuardedTree]],
    members: bool,
) -> Iterator[Row]:
    groups = list(_by_owner(trees).values())
    for i, group in enumerate(groups):
        owner, last = group[0].owner, i == len(groups) - 1
        if above is None:
            yield Row("owner", _named(owner))
            yield from _trees(group, "", below, members)
        elif owner == above.owner:
            yield from _trees(group, indent, below, members, ends=last)
        else:
            yield Row("owner", indent + ("└─ " if last else "├─ ") + _named(owner))
            yield from _trees(group, indent + ("   " if last else "│  "), below, members)


def _trees(
    trees: Sequence[GuardedTree],
    indent: str,
    below: dict[str, list[GuardedTree]],
    members: bool,
    *,
    ends: bool = True,
) -> Iterator[Row]:
    for i, tree in enumerate(trees):
        last = ends and i == len(trees) - 1
        yield Row("tree", f"{indent}{'└─ ' if last else '├─ '}{tree.guard} {printable(tree.kind)}", tree)
        within = indent + ("   " if last else "│  ")
        inner = below.get(tree.id, ())
        if members:
            yield from _members(tree.members, within, ends=not inner)
        if inner:
            yield from _owners(inner, tree, within, below, members)


def _members(members: Sequence[Member], indent: str, *, ends: bool) -> Iterator[Row]:
    for i, member in enumerate(members):
        branch = "└─ " if ends and i == len(members) - 1 else "├─ "
        yield Row("member", f"{indent}{branch}{member.pid} {printable(member.name)}")


def _named(owner: Owner | None) -> str:
    return "(released)" if owner is None else f"{owner.pid} {printable(owner.command)}"


def fitted(rows: Sequence[Row], columns: Sequence[Column], width: int | None) -> tuple[int, list[Column]]:
    """How wide the first column is, and which others there is room for. ``width`` None: as much as they need."""
    first = max([len("TREE"), *(width_of(row.first) for row in rows if row.tree is not None)])
    widest = max([first, *(width_of(row.first) for row in rows)])
    left = list(columns)
    if width is None:
        return first, left
    while left and min(first, _NARROWEST) + sum(_GAP + _width(column, rows) for column in left) > width:
        left.remove(min(left, key=lambda column: column.weight))
    if not left:
        return min(widest, max(width, 1)), left
    return min(first, width - sum(_GAP + _width(column, rows) for column in left)), left


def _width(column: Column, rows: Sequence[Row]) -> int:
    return max([len(column.title), *(width_of(column.text(row.tree)) for row in rows if row.tree is not None)])


def text_lines(rows: Sequence[Row], columns: Sequence[Column], width: int | None) -> Iterator[tuple[str, str]]:
    """The kind of each line and its text. The first is the head."""
    first, shown = fitted(rows, columns, width)
    widths = [_width(column, rows) for column in shown]
    head = [_padded(_cut("TREE", first), first, False)]
    head += [_padded(column.title, size, column.right) for column, size in zip(shown, widths, strict=True)]
    yield "head", (" " * _GAP).join(head).rstrip()
    for row in rows:
        if row.tree is None:
            yield row.kind, row.first if width is None else _cut(row.first, width)
            continue
        cells = [_padded(_cut(row.first, first), first, False)]
        for column, size in zip(shown, widths, strict=True):
            cells.append(_padded(column.text(row.tree), size, column.right))
        yield row.kind, (" " * _GAP).join(cells).rstrip()


def width_of(text: str) -> int:
    """How many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(_columns_of(c) for c in text)


def _columns_of(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in {"Mn", "Me"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _cut(text: str, width: int) -> str:
    if width_of(text) <= width:
        return text
    room, kept = width - 1, ""
    for character in text:
        room -= _columns_of(character)
        if room < 0:
            break
        kept += character
    return kept + _CUT if width > 0 else ""


def _padded(text: str, width: int, right: bool) -> str:
    space = " " * (width - width_of(text))
    return space + text if right else text + space
