"""What a forked copy of this process does at once: it lets go of what the original process owns."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import Any

__all__ = ["call_in_copies", "leave_copies_alone"]

#: By object, the function that is called with it.
_owners: weakref.WeakKeyDictionary[Any, Callable[[Any], None]] = weakref.WeakKeyDictionary()


def call_in_copies(method: Callable[[], None]) -> None:
    """Calls a bound method in every later copy that ``os.fork`` makes, as long as its object exists.

    An object has one such method.
    """
    _owners[method.__self__] = method.__func__  # type: ignore[attr-defined]


def leave_copies_alone(owner: object) -> None:
    """Calls no method of an object any more, because it has nothing left to let go of."""
    _owners.pop(owner, None)


def _forked() -> None:
    for owner, let_go in list(_owners.items()):
        let_go(owner)


# A process-wide hook cannot be removed, so there is one for all. Windows has no forked copies.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
