"""Shuts a tree down: drives a ladder of steps against a manager, and offers the two-step case of it.

The logic is in the state machine of :mod:`treeguard.shutdown.ladder`. This module contains everything that waits.
"""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec

from .._core.escaping import printable
from .._core.validation import optional_seconds, wrong_type
from .._core.waiting import run_to_completion
from ..types import ProcessId
from .instrumentation import ShutdownInstrumentation
from .ladder import (
    Answer,
    AskShutdown,
    CloseStdin,
    Kill,
    Ladder,
    Phase,
    SendShutdown,
    Shutdown,
    ShutdownReport,
    ShutdownStep,
    Terminate,
    advance,
    checked_ladder,
    patience,
    until,
)

if TYPE_CHECKING:
    from ..manager import ProcessManager

__all__ = ["GracefulShutdownOutcome", "graceful_shutdown_tree", "shutdown_tree"]

#: Seconds for which the search for the remaining processes may delay the next step.
LOOK_PATIENCE = 0.25
#: Seconds that the rest of a tree has to be gone after its root, before the next step is taken.
EMPTY_PATIENCE = 0.0625


class GracefulShutdownOutcome(msgspec.Struct, frozen=True):
    """How a shutdown went: whether the child agreed, whether its tree is empty, and whether it had to be killed."""

    acknowledged: bool
    exited: bool
    forced: bool


async def graceful_shutdown_tree(
    manager: ProcessManager, pid: ProcessId, send_shutdown: SendShutdown, ack_timeout: float, exit_timeout: float
) -> GracefulShutdownOutcome:
    """Ends a tree: politely if the child agrees, otherwise by force.

    * The tree is already empty: the result is ``(False, True, False)``, and nothing is sent.
    * ``send_shutdown`` is acknowledged within ``ack_timeout`` seconds, and the tree is empty within another
      ``exit_timeout`` seconds: the result is ``(True, True, False)``.
    * Anything else, including a refusal and an error of ``send_shutdown``: the tree is killed, its exit is waited for
      up to ``exit_timeout`` seconds again, and ``forced`` is True.

    Errors of the manager, in particular of the kill, are raised. If this call is cancelled, or fails while the child is
    asked, it ends the tree by force before it raises.
    """
    for name in ("wait_for_exit", "kill_tree"):
        if not callable(getattr(manager, name, None)):
            raise wrong_type("manager", "a ProcessManager", manager)
    ladder = (AskShutdown(send_shutdown, ack_timeout, exit_timeout), Kill(exit_timeout))
    end = await _climb(_TwoSteps(manager, pid), Shutdown(ladder))
    return GracefulShutdownOutcome(end.acknowledged, end.exited, end.forced)


async def shutdown_tree(
    manager: ProcessManager, pid: ProcessId, ladder: Ladder, *, deadline: float | None = None
) -> ShutdownReport:
    """Ends a tree step by step: see :meth:`treeguard.ProcessManager.shutdown`."""
    limit = optional_seconds("deadline", deadline)
    start = Shutdown(checked_ladder(ladder), math.inf if limit is None else limit)
    loop = asyncio.get_running_loop()
    began = loop.time()
    end = await _climb(_AllSteps(manager, pid), start)
    return ShutdownReport(
        pid,
        end.steps,
        end.acknowledged,
        end.exited,
        end.forced,
        seconds=loop.time() - began,
        left=() if end.exited else end.steps[-1].left,
    )


async def _climb(tree: _TwoSteps, state: Shutdown) -> Shutdown:
    """Drives the state machine to its end."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    instrumentation = ShutdownInstrumentation(tree.pid)
    try:
        while state.phase is not Phase.DONE:
            answer = await _answer(tree, state, patience(state, loop.time() - began))
            state = advance(state, answer, loop.time() - began)
            instrumentation.went_on(state)
    except BaseException as e:
        instrumentation.failed(e)
        # A cancellation may have come before the kill was issued. An error of the kill is not followed by another kill.
        # After an error of the first look, everything stays as it was.
        first_look = state.phase is Phase.LOOKING and not state.rung
        if isinstance(e, asyncio.CancelledError) or not (first_look or isinstance(state.step, Kill)):
            await run_to_completion(tree.kill())
        raise
    instrumentation.ended(state)
    return state


async def _answer(tree: _TwoSteps, state: Shutdown, timeout: float) -> Answer:
    if state.phase is Phase.TRYING:
        return await tree.take(state.step, timeout)
    if state.phase is Phase.WAITING:
        return await tree.wait(state.step, timeout)
    return Answer("empty" if await tree.empty(timeout) else None)


class _TwoSteps:
    """A tree that can be asked and killed."""

    def __init__(self, manager: ProcessManager, pid: ProcessId) -> None:
        self._manager = manager
        self.pid = pid

    async def empty(self, timeout: float) -> bool:
        return await self._manager.wait_for_exit(self.pid, timeout)

    async def kill(self) -> None:
        await self._manager.kill_tree(self.pid)

    async def wait(self, step: ShutdownStep, timeout: float) -> Answer:
        """Waits for what a step is to bring about."""
        return Answer("empty" if await self.empty(timeout) else "stayed")

    async def take(self, step: ShutdownStep, timeout: float) -> Answer:
        """Takes a step. Its errors become its outcome, except for those of the kill."""
        if isinstance(step, Kill):
            await self.kill()
            return Answer()
        assert isinstance(step, AskShutdown)
        return await _within(timeout, lambda: _ask(step.send_shutdown))


class _AllSteps(_TwoSteps):
    """A tree for which every step can be taken."""

    async def wait(self, step: ShutdownStep, timeout: float) -> Answer:
        """Waits for what a step is to bring about. What the root leaves meanwhile is asked too."""
        if not isinstance(step, Terminate) or step.target is not None:
            return await self._wait(step, timeout)
        asking = asyncio.ensure_future(self._manager.ask_rest(self.pid, step.signal))
        asking.add_done_callback(_retrieve)
        try:
            return await self._wait(step, timeout)
        finally:
            asking.cancel()

    async def _wait(self, step: ShutdownStep, timeout: float) -> Answer:
        if until(step) == "root":
            return await self._root_ended(timeout)
        return Answer("empty") if await self.empty(timeout) else Answer("stayed", left=await self._left())

    async def _root_ended(self, timeout: float) -> Answer:
        """Waits until the root has ended. A tree of which that was the last process is empty a moment later."""
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        if await self._manager.wait_for_root(self.pid, timeout) is None:
            return Answer("stayed", left=await self._left())
        if await self.empty(max(0.0, min(EMPTY_PATIENCE, end - loop.time()))):
            return Answer("empty")
        return Answer("root_ended", left=await self._left())

    async def _left(self) -> tuple[int, ...] | None:
        """Returns the processes of the tree and of those below it, or None if they are unknown or not found soon."""
        looking = asyncio.ensure_future(self._members())
        looking.add_done_callback(_retrieve)
        try:
            await asyncio.wait({looking}, timeout=LOOK_PATIENCE)
        finally:
            looking.cancel()
        if not looking.done() or looking.cancelled() or looking.exception() is not None:
            return None
        return looking.result()

    async def _members(self) -> tuple[int, ...] | None:
        trees = [self.pid]
        for child in await self._manager.list_children():  # Parents are listed before the children below them.
            if child.parent in trees:
                trees.append(child.pid)
        found = [await self._manager.members(pid) for pid in trees]
        return None if None in found else tuple(member for members in found for member in members or ())

    async def take(self, step: ShutdownStep, timeout: float) -> Answer:
        if isinstance(step, CloseStdin):
            return await _within(timeout, lambda: _close(step.close))
        if isinstance(step, Terminate):
            return await _within(timeout, lambda: self._terminate(step))
        return await super().take(step, timeout)

    async def _terminate(self, step: Terminate) -> bool:
        await self._manager.ask_tree(self.pid, step.signal, step.target or "group")
        return True


async def _within(timeout: float, work: Callable[[], Awaitable[bool]]) -> Answer:
    """Returns the outcome of a step's own work after at most ``timeout`` seconds. Cancels work that still runs."""
    working = asyncio.ensure_future(work())
    working.add_done_callback(_retrieve)
    try:
        await asyncio.wait({working}, timeout=timeout)
    finally:
        working.cancel()
    if not working.done():
        return Answer("unanswered")
    if working.cancelled():
        return Answer("failed", error="it was cancelled")
    error = working.exception()
    if error is not None:
        return Answer("failed", error=printable(f"{type(error).__name__}: {error}"))
    return Answer(None if working.result() else "refused")


async def _ask(send_shutdown: SendShutdown) -> bool:
    response = send_shutdown()
    if inspect.isawaitable(response):
        acknowledged = getattr(await response, "acknowledged", None)
        if isinstance(acknowledged, bool):
            return acknowledged
    raise TypeError("send_shutdown must return an awaitable of ShutdownTreeResponse")


async def _close(close: Callable[[], object]) -> bool:
    closing = close()
    if inspect.isawaitable(closing):
        await closing
    return True


def _retrieve(working: asyncio.Future[Any]) -> None:
    if not working.cancelled():
        working.exception()
