"""What a manager starts its trees with: one way for each mechanism."""

from __future__ import annotations

from abc import ABC, abstractmethod

from ...limits import Limits
from ..engine.engine import Engine
from ..inspection.tree import Inspection
from ..native import Spec
from .guard_loss import LostTree, OrphanedTree
from .proc_scanner import SearchTarget

__all__ = ["Backend"]


class Backend(ABC):
    """Starts trees in one way."""

    @abstractmethod
    async def spawn(self, engine: Engine, spec: Spec, tag: int, limits: Limits | None) -> None:
        """Starts a tree; not to be cancelled.

        Raises :class:`~treeguard._core.native.CoreError` if nothing was started. Whatever it raises, ``engine`` tells
        whether there is a tree; :meth:`failed` is called if there is none. ``limits`` are of those that this
        containment keeps.
        """

    def failed(self, tag: int) -> None:  # noqa: B027 - most prepare nothing
        """A tree could not be started: what was prepared for it is taken back. Again is no error."""

    def why_failed(self, step: str, error: int) -> str:
        """What can be seen of the reason why a tree could not be started, if this is the place to look for it."""
        del step, error
        return ""

    @abstractmethod
    def inside(self, leader_pid: int, tag: int) -> Inspection:
        """A tree from within. ``keeper`` is its guard's process id, without one the root's."""

    def bypass(self, leader_pid: int, tag: int) -> SearchTarget | None:
        """A tree that is to be ended over the head of a guard that lives. None: it cannot be, or has none."""
        del leader_pid, tag
        return None

    def remains(self, traces: LostTree) -> OrphanedTree:
        """What can still be found of a tree whose guard is gone."""
        raise NotImplementedError(f"a tree without a guard cannot lose it: {traces}")

    def close(self) -> None:  # noqa: B027 - most have nothing to let go of
        """Lets go, after all trees are empty. Again is no error."""
