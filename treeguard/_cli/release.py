"""What COMMAND has left is let go of (``treeguard run --release``): it lives on under its guard, and that is said."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from functools import partial

from .._core.inspection.left import left_of
from .._core.inspection.members import Members
from .._core.outcome import Left
from .._core.releasing import SAID
from .._core.waiting import aside
from ..errors import ProcessEnded
from ..local import LocalProcessManager
from .outcome import Outcome

__all__ = ["release"]

#: How many processes are named.
_NAMED = 10
#: How often, and after how many seconds each, a tree is looked at in which nobody is seen to live: it is about to be
#: empty, unless this user cannot see its processes.
_LOOKS = 50
_PAUSE = 0.02


async def release(manager: LocalProcessManager, outcome: Outcome, members: Members | None) -> bool:
    """Releases the tree of a command that has ended. Returns False, and says nothing, if nothing is left of it.

    Raises :class:`~treeguard.released.ReleaseRefused`: the tree is the manager's as before.
    """
    left: tuple[Left, ...] = ()
    for _ in range(_LOOKS):
        if members is not None:
            with contextlib.suppress(OSError, RuntimeError):  # too few descriptors, no thread
                left = await aside(partial(left_of, members))
        if left:
            break
        if await manager.wait_for_exit(outcome.pid, _PAUSE):
            return False
    log, words = logging.getLogger("treeguard.manager"), _Words(left)
    log.addFilter(words)
    try:
        outcome.total = await manager.stats(outcome.pid)
        outcome.released = await manager.tree(outcome.pid).release()
    except ProcessEnded:
        return False
    finally:
        log.removeFilter(words)
    return True


class _Words(logging.Filter):
    """Puts what people need into the log's record of a release: it is written before the tree is free."""

    def __init__(self, left: Sequence[Left]) -> None:
        super().__init__()
        self._left = left

    def filter(self, record: logging.LogRecord) -> bool:
        """Lets every record pass."""
        if record.msg == SAID and isinstance(record.args, tuple):
            record.msg, record.args = "%s", (_said(self._left, record.args[2]),)
        return True


def _said(left: Sequence[Left], guard: object) -> str:
    names = [f"{each.name} ({each.pid})" for each in left[:_NAMED]]
    if len(left) > _NAMED:
        names.append(f"{len(left) - _NAMED} more")
    if len(left) == 1:
        return f"1 process was released and lives on: {names[0]}; 'treeguard kill {guard}' ends it"
    count = f"{len(left)} processes were released and live on: " if left else "the tree was released and lives on"
    return f"{count}{', '.join(names)}; 'treeguard kill {guard}' ends {'them' if left else 'it'}"
