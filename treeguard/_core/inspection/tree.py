"""Looking into a tree: its members, what it uses, and freezing it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from .freezer import CgroupFreezer, Freezer, SignalFreezer
from .members import Members, MembersOfGroup, MembersOfLeaf, MembersUnderGuard
from .usage import Accounts, CgroupAccounts, ProcAccounts

__all__ = ["Inspection", "inspect_group", "inspect_leaf", "inspect_under_guard"]


class Inspection(NamedTuple):
    """The view into one tree that its mechanism provides."""

    members: Members
    freezer: Freezer
    accounts: Accounts


def inspect_leaf(leaf: Path, guard: int) -> Inspection:
    """The view into a tree in a cgroup."""
    members = MembersOfLeaf(leaf, guard)
    return Inspection(members, CgroupFreezer(leaf), CgroupAccounts(leaf, members, guard))


def inspect_under_guard(guard: int) -> Inspection:
    """The view into a tree whose guard adopts its orphans."""
    members = MembersUnderGuard(guard)
    return Inspection(members, SignalFreezer(members), ProcAccounts(members, guard))


def inspect_group(root: int) -> Inspection:
    """The view into a tree without a guard."""
    members = MembersOfGroup(root)
    return Inspection(members, SignalFreezer(members), ProcAccounts(members, None))
