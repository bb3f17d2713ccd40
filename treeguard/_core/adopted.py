"""Trees that were started by another supervisor, and how a manager's mechanism treats them."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..limits import Limits
from ..released import ReleasedTree, TakeOverRefused
from .cgroup.cgroups import own_cgroup
from .containment.backend import Backend
from .engine.engine import Engine
from .native import Descriptor
from .spec import Additions, Placement

if TYPE_CHECKING:
    from .containment.guard_loss import LostTree, OrphanedTree
    from .containment.proc_scanner import SearchTarget
    from .inspection.tree import Inspection

__all__ = ["AdoptedTree", "Adopting", "boot_id", "leaf_of"]


def boot_id() -> str:
    """Tells the running system from the same one before its last boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()


def leaf_of(token: ReleasedTree) -> int:
    """The number that the supervisor which started the tree knew it by. Raises ValueError."""
    return int(token.name.split(".")[1])


class AdoptedTree:
    """What leads to one of them past its guard."""

    def __init__(self, token: ReleasedTree) -> None:
        """Raises :class:`~treeguard.released.TakeOverRefused` if the token's cgroup is not that of its tree."""
        self.token = token
        self.parent = Descriptor()
        if token.cgroup is not None:
            self._leaf = leaf = Path(token.cgroup)
            self._own = own_cgroup()
            # The guard has marked it. A token is only text, and what it names may be killed later.
            if leaf.name != str(leaf_of(token)) or not (leaf.parent / token.name).is_dir():
                raise TakeOverRefused(f"{leaf} is not the cgroup of {token.name}, or is not to be seen from here")
            self.parent.open(leaf.parent, os.O_RDONLY | os.O_DIRECTORY)

    @property
    def empty_leaf(self) -> Callable[[], bool] | None:
        """What kills the leaf, and returns whether it is gone."""
        if self.token.cgroup is None:
            return None
        from .cgroup.emptying import empty

        return partial(empty, self._leaf, self._own)

    def inspection(self) -> Inspection:
        """See :meth:`Backend.inspection`."""
        from .inspection.tree import inspect_leaf, inspect_under_guard

        guard = self.token.guard
        return inspect_under_guard(guard) if self.token.cgroup is None else inspect_leaf(self._leaf, guard)


class Adopting(Backend):
    """A manager's own backend, and trees that are not of its making."""

    def __init__(self, own: Backend) -> None:
        self.own = own
        #: By tag.
        self.adopted: dict[int, AdoptedTree] = {}
        self.outlived = own.outlived

    @property
    def placement(self) -> Placement:  # type: ignore[override]
        """See :attr:`Backend.placement`."""
        return self.own.placement

    def limit(self, limits: Limits, additions: Additions) -> None:
        self.own.limit(limits, additions)

    async def elsewhere(self, start: Callable[[], None]) -> None:
        await self.own.elsewhere(start)

    def failed(self, tag: int) -> None:
        if tag not in self.adopted:
            self.own.failed(tag)

    def why_failed(self, step: str, error: int) -> str:
        return self.own.why_failed(step, error)

    def inspection(self, leader_pid: int, tag: int, engine: Engine) -> Inspection:
        adopted = self.adopted.get(tag)
        return self.own.inspection(leader_pid, tag, engine) if adopted is None else adopted.inspection()

    def bypass(self, leader_pid: int, tag: int) -> SearchTarget | None:
        adopted = self.adopted.get(tag)
        if adopted is None:
            return self.own.bypass(leader_pid, tag)
        from .containment.bypass import Bypass

        return Bypass(leader_pid, adopted.empty_leaf, stranger=adopted.token.started)

    def orphaned(self, traces: LostTree) -> SearchTarget:
        adopted = self.adopted.get(traces.tag)
        if adopted is None:
            return self.own.orphaned(traces)
        from .containment.guard_loss import OrphanedTree

        mark = adopted.token.mark.encode("ascii", "replace")
        orphaned: OrphanedTree = OrphanedTree(traces, mark=mark, empty_cgroup=adopted.empty_leaf)
        return orphaned

    def close(self) -> None:
        for adopted in self.adopted.values():
            adopted.parent.close()
        self.own.close()
