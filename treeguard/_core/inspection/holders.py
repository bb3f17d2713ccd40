"""Processes that hold a tree's output although they have left the tree."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection
from functools import partial

from ..outcome import Left
from ..processes.system import get_process, is_still, iter_pids, kill_if
from ..waiting import aside
from .left import holds

__all__ = ["end_all_holders", "end_holders"]

#: How long holders are looked for, in seconds, and the pause between two looks.
_TIMEOUT, _PAUSE = 0.5, 0.002


def end_holders(pipes: Collection[str], since: float) -> tuple[Left, ...]:
    """Kills the processes that hold one of the pipes ``pipes``, given by their identity. Returns what it found.

    Without a guard a process that has left the group cannot be told from a stranger, but for the pipe that the tree
    alone was given. One that began before the tick ``since``, such as a server that was handed the pipe, is no
    descendant of the root, and is let live. So are this process and those of its group, which a fork may have given a
    copy of the pipe, and processes that are just being started and have not got to their exec.
    """
    found = []
    own, group = os.getpid(), os.getpgrp()
    try:
        pids = list(iter_pids())
    except FileNotFoundError:  # there is no list of processes
        return ()
    for pid in pids:
        seen = None if pid == own else get_process(pid)
        if seen is None or not seen.alive or seen.group == group or not holds(pid, pipes, for_good=True):
            continue
        found.append(Left(pid, seen.name, True))
        if seen.started >= since:
            kill_if(pid, partial(is_still, seen))
    return tuple(found)


async def end_all_holders(pipes: Collection[str]) -> None:
    """Kills who holds pipes that only a tree was given, look by look: one may be forking while it is looked at."""
    loop = asyncio.get_running_loop()
    last = loop.time() + _TIMEOUT
    while loop.time() < last:
        try:
            if not await aside(partial(end_holders, pipes, 0.0)):
                return
        except (OSError, RuntimeError):  # nothing can be seen, or there is no thread to look
            return
        await asyncio.sleep(_PAUSE)
