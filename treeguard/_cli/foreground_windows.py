"""Running a command in the foreground of a Windows console."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any

from ..errors import RequestNotDelivered
from ..local import LocalProcessManager
from ..params import SpawnParams
from ..types import ChildHandle
from .outcome import Outcome
from .report import Reporter
from .request import Request

__all__ = ["in_foreground"]

#: The events that the console sends to all processes attached to it, except to the command. The command has its own
#: group, in which CTRL_C is off, so it is asked to end by CTRL_BREAK.
_ASKED = tuple(getattr(signal, name) for name in ("SIGINT", "SIGBREAK") if hasattr(signal, name))


def in_foreground(manager: LocalProcessManager, request: Request, reporter: Reporter) -> Outcome:
    """Runs the command as a tree of ``manager`` and returns when the tree is empty."""
    for name in request.unset:
        os.environ.pop(name, None)
    return asyncio.run(_supervise(manager, request, reporter))


async def _supervise(manager: LocalProcessManager, request: Request, reporter: Reporter) -> Outcome:
    patience = request.patience
    params = SpawnParams(program=request.command[0], args=request.command[1:], stdin="inherit", **request.given)
    async with manager:
        with _asked_to_end() as asked:
            child = await manager.spawn_child(params)
            outcome = Outcome(child.pid, child.os_pid)
            reporter.started(outcome, manager.containment.mechanism)
            ended = asyncio.ensure_future(manager.wait_for_root(child.pid))
            happening: set[asyncio.Future[Any]] = {ended, asked}
            await asyncio.wait(happening, timeout=patience.timeout, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                outcome.asked = "request" if asked.done() else "timeout"
                outcome.killed = not await _end(manager, child, patience.grace)
            outcome.exit = await ended
            # On Windows roots alone can be asked to end, so the rest has the time to end by itself.
            outcome.killed |= not await manager.wait_for_exit(child.pid, patience.linger)
    await manager.wait_for_exit(outcome.pid)
    outcome.total = await manager.stats(outcome.pid)
    return outcome


async def _end(manager: LocalProcessManager, child: ChildHandle, grace: float) -> bool:
    """Asks the tree to end and waits for the grace, then kills it. A tree that cannot be asked gets no grace.

    Returns whether it has ended by itself.
    """
    with contextlib.suppress(RequestNotDelivered):
        await manager.terminate_tree(child.pid, force=False)
        if await manager.wait_for_exit(child.pid, grace):
            return True
    await manager.kill_tree(child.pid)
    return False


@contextlib.contextmanager
def _asked_to_end() -> Iterator[asyncio.Future[None]]:
    """Yields a future that is done when the console or its user has asked this process to end."""
    loop = asyncio.get_running_loop()
    asked: asyncio.Future[None] = loop.create_future()

    def ask() -> None:
        if not asked.done():
            asked.set_result(None)

    def handle(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(ask)

    before = {number: signal.signal(number, handle) for number in _ASKED}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        asked.cancel()
