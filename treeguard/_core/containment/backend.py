"""The interface through which a manager starts its trees, with one implementation for each mechanism."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

from ...limits import Limits
from ..engine.engine import Engine
from ..spec import NO_GUARD, Additions

if TYPE_CHECKING:
    from ..inspection.tree import Inspection
    from .guard_loss import LostTree
    from .proc_scanner import SearchTarget

__all__ = ["Backend"]


class Backend(ABC):
    """One way to contain trees."""

    #: Where its trees are put.
    placement = NO_GUARD
    #: Whether a root ends with the thread that started it, so that this must be one that lives long enough.
    outlived = False

    def limit(self, limits: Limits, additions: Additions) -> None:  # noqa: B027 - a test's has no limits
        """Adds limits to what a tree gets. They are limits that this containment keeps.

        Raises :class:`~treeguard._core.native.CoreError` if one cannot be set. The caller calls :meth:`failed` if no
        tree is started.
        """

    async def elsewhere(self, start: Callable[[], None]) -> None:
        """Makes a call in a thread that outlives all trees. The caller must not cancel it. See :attr:`outlived`."""
        raise NotImplementedError(f"a root may be started by any thread: {start}")

    def failed(self, tag: int) -> None:  # noqa: B027 - most prepare nothing
        """Takes back what was prepared for a tree that could not be started. Calling it again has no effect."""

    def why_failed(self, step: str, error: int) -> str:
        """The visible reason why a tree could not be started, if the mechanism can tell; otherwise empty."""
        if step in ("pid_namespace", "user_map", "mount_proc"):
            from .pid_namespace import reason_for

            return reason_for(step, error)
        return ""

    @abstractmethod
    def inspection(self, leader_pid: int, tag: int, engine: Engine) -> Inspection:
        """A view into a tree. ``leader_pid`` is the process id of its guard, or of its root if it has no guard."""

    def bypass(self, leader_pid: int, tag: int) -> SearchTarget | None:
        """The target for ending a tree past a guard that is alive; None if that is impossible or there is no guard."""
        del leader_pid, tag
        return None

    def orphaned(self, traces: LostTree) -> SearchTarget:
        """The target for ending what can still be found of a tree whose guard is gone."""
        raise NotImplementedError(f"a tree without a guard cannot lose it: {traces}")

    def close(self) -> None:  # noqa: B027 - most have nothing to release
        """Releases what it holds, after all trees are empty. Calling it again has no effect."""
