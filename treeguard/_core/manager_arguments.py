"""The checks of what few managers are made with. Loaded for those."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from .validation import flag

if TYPE_CHECKING:
    from ..ext import SpawnHook
    from ..params import SpawnParams

__all__ = ["checked"]


def checked(
    require: Collection[str], providers: Sequence[SpawnHook], die_with_parent: object
) -> tuple[Sequence[SpawnHook], Callable[[SpawnParams], SpawnParams] | None]:
    """The hooks, and what binds children to the parent of this process; None: nothing does."""
    if require != ():
        from .containment.requirements import check_guarantees

        check_guarantees(require)
    hooks: Sequence[SpawnHook] = ()
    if providers != ():
        from .resources import checked_hooks

        hooks = checked_hooks(providers)
    if not flag("die_with_parent", die_with_parent):
        return hooks, None
    from .launcher import bound_to_parent

    return hooks, bound_to_parent()
