"""A tree from within: who is in it, what it uses, and letting it stand still."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from .accounts import Accounts, CgroupAccounts, ProcAccounts
from .freezer import CgroupFreezer, Freezer, SignalFreezer
from .members import Members, MembersOfGroup, MembersOfLeaf, MembersUnderGuard

__all__ = ["Inside", "inside_group", "inside_leaf", "under_guard"]


class Inside(NamedTuple):
    """What the mechanism that contains a tree gives for it."""

    members: Members
    freezer: Freezer
    accounts: Accounts


def inside_leaf(leaf: Path, guard: int) -> Inside:
    """Of a tree in a cgroup."""
    members = MembersOfLeaf(leaf, guard)
    return Inside(members, CgroupFreezer(leaf), CgroupAccounts(leaf, members, guard))


def under_guard(guard: int) -> Inside:
    """Of a tree whose guard adopts its orphans."""
    members = MembersUnderGuard(guard)
    return Inside(members, SignalFreezer(members), ProcAccounts(members, guard))


def inside_group(root: int) -> Inside:
    """Of a tree without a guard."""
    members = MembersOfGroup(root)
    return Inside(members, SignalFreezer(members), ProcAccounts(members, None))
