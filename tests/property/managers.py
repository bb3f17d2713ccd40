"""The parts of a process manager that a test has no use for."""

from __future__ import annotations

from treeguard import ChildHandle, ConnectionId, ProcessId, ProcessManager, SpawnParams

__all__ = ["NeverSpawning"]


class NeverSpawning(ProcessManager):
    """Has trees by other means. A call of one of these methods is a mistake of the test."""

    async def spawn_child(self, params: SpawnParams) -> ChildHandle:
        raise NotImplementedError("trees of this manager are not spawned")

    async def attach_connection(self, pid: ProcessId, conn: ConnectionId) -> None:
        raise NotImplementedError("children of this manager have no connections")

    async def list_children(self) -> list[ChildHandle]:
        raise NotImplementedError("this manager tells nobody of its trees")

    async def terminate_tree(self, pid: ProcessId, force: bool) -> None:
        raise NotImplementedError("this manager has no trees to ask")
