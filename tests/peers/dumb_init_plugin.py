"""What dumb-init's own tests need, as a plugin of pytest.

It is imported by itself, since they have a package of the name ``tests``, too.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any

import pytest


class _Os:
    """``os`` for their helpers, which kill one process after another: when one is gone, so is the whole tree."""

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def kill(self, pid: int, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def pytest_sessionstart() -> None:
    """Replaces it before the tests are imported."""
    import testing  # type: ignore[import-not-found]  # dumb-init's own helpers

    testing.os = _Os()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out the tests with these parts in their names: some would leave processes that keep the machine busy."""
    left_out = [item for item in items if any(part in item.name for part in os.environ["LEFT_OUT"].split())]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]
