"""The core of the suite, for hosts on which all of it takes too long: one test of each group of similar ones."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from .adversary import KINDS

__all__ = ["in_core"]

#: By parameter, what is left out. The zoo has every kind of adversary.
_SPARE: dict[str, Collection[object]] = {
    "adversary": set(KINDS) - {"family", "daemon", "zoo"},
    "death": {"SIGTERM", "abort", "segfault", "_exit"},
    "end": {"return", "raise"},
    "fork": {"libc"},
    "kept_global": {True},
    "level": {0, 1, 3},
    "thread": {True},
}


def in_core(test: pytest.Item) -> bool:
    """Whether a test belongs to it."""
    called = getattr(test, "callspec", None)
    given = called.params if called else {}
    return not any(name in given and given[name] in spare for name, spare in _SPARE.items())
