"""Calls of the C core about trees in PID namespaces."""

from __future__ import annotations

from typing import Any

from .native import Descriptor, NativeTree, _lib

__all__ = ["init_of"]


def init_of(tree: object) -> Descriptor | None:
    """A handle of the init of a tree, which becomes readable when nothing is left in its PID namespace.

    None if it has no init, or has not told of it yet. Raises OSError if there is no descriptor for it.
    """
    find: Any = getattr(_lib, "tg_tree_init", None)
    cell: Any = tree._cell[0] if isinstance(tree, NativeTree) else None
    number = find(cell) if find and cell else -1
    if number < 0:
        return None
    handle = Descriptor()
    handle.copy(number)
    return handle
