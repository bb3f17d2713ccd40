"""What can be done with a manager, in plain values: trees are known by number, and errors by name.

So a test can ask for it in its own process, or another one that it may kill.
"""

from __future__ import annotations

import asyncio
from typing import Any

from treeguard import (
    ChildHandle,
    LocalProcessManager,
    ShutdownTreeResponse,
    SpawnParams,
    TreeguardError,
    graceful_shutdown_tree,
)

__all__ = ["Answer", "Verbs"]

#: "done", the name of an error, or what was asked for.
Answer = Any


class Verbs:
    """The verbs of one manager. ``kill`` in them is what ends a tree, ``leave`` what ends the manager."""

    def __init__(self, manager: LocalProcessManager) -> None:
        self._manager = manager
        self._children: dict[int, ChildHandle] = {}

    async def perform(self, verb: str, *arguments: Any) -> Answer:
        """Does one of the others."""
        try:
            answer = await getattr(self, verb)(*arguments)
        except TreeguardError as error:
            return type(error).__name__
        return "done" if answer is None else answer

    async def spawn(
        self, tree: int, argv: list[str], fds: list[int], parent: int | None, patience: int | None = None
    ) -> Answer:
        """The root's process id. With ``patience`` it is cancelled after so many turns of the loop: "cancelled"."""
        above = None if parent is None else self._children[parent].pid
        params = SpawnParams(argv[0], tuple(argv[1:]), pass_fds=tuple(fds), parent=above)
        spawning = asyncio.ensure_future(self._manager.spawn_child(params))
        if patience is not None:
            for _ in range(patience):
                await asyncio.sleep(0)
            spawning.cancel()
        try:
            self._children[tree] = await spawning
        except asyncio.CancelledError:
            return "cancelled"
        return self._children[tree].os_pid

    async def kill(self, tree: int) -> Answer:
        await self._manager.kill_tree(self._children[tree].pid)

    async def terminate(self, tree: int) -> Answer:
        await self._manager.terminate_tree(self._children[tree].pid)

    async def freeze(self, tree: int) -> Answer:
        await self._manager.freeze(self._children[tree].pid)

    async def thaw(self, tree: int) -> Answer:
        await self._manager.thaw(self._children[tree].pid)

    async def shutdown(self, tree: int, agrees: bool, timeout: float) -> Answer:
        """Graceful: the child is asked, and agrees or does not; in either case it goes on as before."""

        async def ask() -> ShutdownTreeResponse:
            return ShutdownTreeResponse(agrees)

        outcome = await graceful_shutdown_tree(
            self._manager, self._children[tree].pid, ask, ack_timeout=timeout, exit_timeout=timeout
        )
        return [outcome.acknowledged, outcome.exited, outcome.forced]

    async def wait(self, tree: int, timeout: float) -> Answer:
        return await self._manager.wait_for_exit(self._children[tree].pid, timeout)

    async def members(self, tree: int) -> Answer:
        return list(await self._manager.members(self._children[tree].pid))

    async def stats(self, tree: int) -> Answer:
        stats = await self._manager.stats(self._children[tree].pid)
        return None if stats is None else stats.processes

    async def listed(self) -> Answer:
        """The trees that are not settled."""
        known = {child.pid: tree for tree, child in self._children.items()}
        return sorted(known[child.pid] for child in await self._manager.list_children())

    async def leave(self) -> Answer:
        await self._manager.close()
