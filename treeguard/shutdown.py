"""Graceful shutdown: ask, wait for the acknowledgement, wait for the exit, then kill by force.

The logic is :func:`advance`, a table without I/O or clocks. :func:`graceful_shutdown_tree` drives it against a manager.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from .types import ProcessId
from .waiting import checked_timeout, uncancelled

__all__ = [
    "GracefulShutdownOutcome",
    "ShutdownTreeRequest",
    "ShutdownTreeResponse",
    "graceful_shutdown_tree",
]


class ShutdownTreeRequest(msgspec.Struct, frozen=True):
    """What a child is asked on a wire: to end itself and its tree."""

    reason: str | None = None


class ShutdownTreeResponse(msgspec.Struct, frozen=True):
    """A child's answer: whether it will."""

    acknowledged: bool


class GracefulShutdownOutcome(msgspec.Struct, frozen=True):
    """How a shutdown went: whether the child agreed, whether its tree is empty, whether it had to be killed."""

    acknowledged: bool
    exited: bool
    forced: bool


class Phase(enum.Enum):
    """What is being waited for."""

    CHECKING = "whether the tree is empty already"
    ASKING = "the acknowledgement"
    LEAVING = "the exit that was promised"
    KILLING = "the kill to be issued"
    ENDING = "the exit after the kill"
    DONE = "nothing any more"


class Shutdown(msgspec.Struct, frozen=True):
    """Where a shutdown stands, and what is known so far."""

    phase: Phase = Phase.CHECKING
    acknowledged: bool = False
    exited: bool = False
    forced: bool = False


def advance(state: Shutdown, yes: bool) -> Shutdown:
    """The next state, from the answer to what the phase waited for."""
    if state.phase is Phase.CHECKING:
        return Shutdown(Phase.DONE, exited=True) if yes else Shutdown(Phase.ASKING)
    if state.phase is Phase.ASKING:
        return Shutdown(Phase.LEAVING, acknowledged=True) if yes else Shutdown(Phase.KILLING, forced=True)
    if state.phase is Phase.LEAVING:
        if yes:
            return Shutdown(Phase.DONE, state.acknowledged, exited=True)
        return Shutdown(Phase.KILLING, state.acknowledged, forced=True)
    if state.phase is Phase.KILLING:
        return Shutdown(Phase.ENDING, state.acknowledged, forced=True)
    if state.phase is Phase.ENDING:
        return Shutdown(Phase.DONE, state.acknowledged, yes, forced=True)
    raise ValueError("the shutdown is done")


class TreeOwner(Protocol):
    """The part of a process manager that a shutdown needs."""

    async def wait_for_exit(self, pid: ProcessId, timeout: float | None) -> bool: ...

    async def kill_tree(self, pid: ProcessId) -> None: ...


SendShutdown = Callable[[], Awaitable[ShutdownTreeResponse]]


async def graceful_shutdown_tree(
    manager: TreeOwner, pid: ProcessId, send_shutdown: SendShutdown, ack_timeout: float, exit_timeout: float
) -> GracefulShutdownOutcome:
    """Ends a tree: politely if it lets itself be asked, else by force.

    * Empty already: ``(False, True, False)``, and nothing is sent.
    * ``send_shutdown`` is acknowledged within ``ack_timeout`` seconds, and the tree empty within another
      ``exit_timeout``: ``(True, True, False)``.
    * Anything else, a refusal and an error of ``send_shutdown`` included: the tree is killed, its exit waited for up
      to ``exit_timeout`` seconds again, and ``forced`` is True.

    Errors of the manager, of the kill above all, are raised. When this is cancelled, or fails while the child is asked,
    the tree is ended by force first.
    """
    for name, timeout in (("ack_timeout", ack_timeout), ("exit_timeout", exit_timeout)):
        if checked_timeout(name, timeout) is None:
            raise TypeError(f"{name} must be a number of seconds, not None")
    state = Shutdown()
    try:
        while state.phase is not Phase.DONE:
            answer = await _answer(
                state.phase, manager, pid, send_shutdown, ack_timeout=ack_timeout, exit_timeout=exit_timeout
            )
            state = advance(state, answer)
    except BaseException as e:
        # A cancellation may have come before the kill that was on its way was issued. An error of the kill is not
        # answered with another, and one of the first look leaves all as it was.
        if isinstance(e, asyncio.CancelledError) or state.phase in (Phase.ASKING, Phase.LEAVING):
            await uncancelled(manager.kill_tree(pid))
        raise
    return GracefulShutdownOutcome(state.acknowledged, state.exited, state.forced)


async def _answer(
    phase: Phase,
    manager: TreeOwner,
    pid: ProcessId,
    send_shutdown: SendShutdown,
    *,
    ack_timeout: float,
    exit_timeout: float,
) -> bool:
    if phase is Phase.CHECKING:
        return await manager.wait_for_exit(pid, 0)
    if phase is Phase.ASKING:
        return await _acknowledged(send_shutdown, ack_timeout)
    if phase is Phase.KILLING:
        await manager.kill_tree(pid)
        return True
    return await manager.wait_for_exit(pid, exit_timeout)


async def _acknowledged(send_shutdown: SendShutdown, timeout: float) -> bool:
    """Whether the child said yes in time. An error of the asking is a no; what still runs of it is cancelled."""
    asking = asyncio.ensure_future(_ask(send_shutdown))
    asking.add_done_callback(_retrieve)
    try:
        await asyncio.wait({asking}, timeout=timeout)
    finally:
        asking.cancel()
    if not asking.done() or asking.cancelled() or asking.exception() is not None:
        return False
    return asking.result()


async def _ask(send_shutdown: SendShutdown) -> bool:
    return bool((await send_shutdown()).acknowledged)


def _retrieve(asking: asyncio.Task[bool]) -> None:
    if not asking.cancelled():
        asking.exception()
