"""How long a test waits for what must happen.

Nothing sleeps for a fixed time: everything is looked at until a deadline.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Sequence

import pytest

__all__ = ["LIFETIME", "PATIENCE", "SLOWNESS", "give_time", "until", "wait_until"]

#: How much slower than usual this host is: an emulated one says so in its environment.
SLOWNESS = float(os.environ.get("TREEGUARD_TEST_SLOWNESS", "1"))
#: Seconds.
PATIENCE = 20.0 * SLOWNESS
#: Seconds after which what a crashed test left ends by itself.
LIFETIME = 60.0 * SLOWNESS

_LAST_PAUSE = 0.02


def give_time(config: pytest.Config, items: Sequence[pytest.Item]) -> None:
    """Gives each test as much more time as the host is slower."""
    for item in items:
        marked = item.get_closest_marker("timeout")
        seconds = float(marked.args[0] if marked else config.getini("timeout"))
        item.add_marker(pytest.mark.timeout(seconds * SLOWNESS), append=False)


def _pauses(what: str, patience: float) -> Iterator[float]:
    deadline = time.monotonic() + patience
    pause = 0.0005
    while time.monotonic() < deadline:
        yield pause
        pause = min(pause * 1.5, _LAST_PAUSE)
    raise AssertionError(f"not within {patience:g} s: {what}")


def wait_until(condition: Callable[[], object], what: str, patience: float = PATIENCE) -> None:
    """Waits until ``condition`` is true; fails the test with ``what`` otherwise."""
    for pause in _pauses(what, patience):
        if condition():
            return
        time.sleep(pause)  # between two looks: the deadline is in _pauses


async def until(condition: Callable[[], object], what: str, patience: float = PATIENCE) -> None:
    """The same on an event loop."""
    for pause in _pauses(what, patience):
        if condition():
            return
        await asyncio.sleep(pause)
