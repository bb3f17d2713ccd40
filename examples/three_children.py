"""An application's case: children in three languages, each with its own rights, that are watched and shut down."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections import defaultdict
from pathlib import Path

from treeguard import (
    CapabilityBundle,
    CapabilitySet,
    ConnectionId,
    ControlServer,
    HeartbeatTracker,
    LocalProcessManager,
    ProcessId,
    SpawnParams,
    graceful_shutdown_tree,
)
from treeguard.capability import CapabilityToken, MethodRule, MethodSelector, QuotaSet
from treeguard.control import Call

CHILDREN = Path(__file__).parent / "children"


def allowed(*storage: MethodRule) -> CapabilityBundle:
    """Each may log what it likes; what it may do with the storage is its own."""
    log = MethodRule(MethodSelector.any())
    return CapabilityBundle(CapabilityToken.generate(), CapabilitySet({"log": (log,), "storage": storage}))


#: The node worker is throttled: it gets three at once, and then one every ten seconds.
WORKERS = (
    SpawnParams(
        sys.executable,
        (str(CHILDREN / "worker.py"),),
        kind="python",
        control=True,
        capabilities=allowed(MethodRule(MethodSelector.exact("get"))),
    ),
    SpawnParams(
        "node",
        (str(CHILDREN / "worker.js"),),
        kind="node",
        control=True,
        capabilities=allowed(MethodRule(MethodSelector.exact("get"), QuotaSet(ops_per_sec=0.1, burst=3))),
    ),
    SpawnParams(
        "sh",
        (str(CHILDREN / "worker.sh"),),
        kind="shell",
        control="stdin",
        capabilities=allowed(),
    ),
)


class Application:
    """Serves its children, and deals with each when it has said what it had to say."""

    def __init__(self) -> None:
        self.server = ControlServer({"storage.get": self.get, "log.line": self.line})
        self.manager = LocalProcessManager(control=self.server)
        self.lines: defaultdict[ProcessId, asyncio.Queue[str]] = defaultdict(asyncio.Queue)
        self.names: dict[ProcessId, str] = {}

    async def get(self, call: Call) -> str:
        """The service ``storage.get``."""
        return {"motto": "none of it outlives you"}[call.arguments(dict[str, str])["key"]]

    async def line(self, call: Call) -> None:
        """The service ``log.line``."""
        self.lines[call.pid].put_nowait(*call.arguments(tuple[str]))

    def silent(self, conn: ConnectionId, pid: ProcessId) -> None:
        """Called when a child's heartbeat is missing."""
        print(f"{self.names[pid]}: silent for too long, it will be killed")

    async def run(self, workers: tuple[SpawnParams, ...]) -> None:
        """Runs them all at the same time."""
        async with self.manager:
            async with HeartbeatTracker(
                self.manager, 0.5, 8, on_expired=self.silent, drain=self.server.drain
            ) as tracker:
                self.server.watch(tracker)
                await asyncio.gather(*(self.attend(worker) for worker in workers))
            print("left:", await self.manager.list_children())

    async def attend(self, worker: SpawnParams) -> None:
        """From the spawn of one to its end."""
        child = await self.manager.spawn_child(worker)
        self.names[child.pid] = worker.kind
        for _ in range(2):
            print(f"{worker.kind}: {await self.lines[child.pid].get()}")
        if worker.kind != "shell":
            ask = self.server.shutdown_request(child.pid, "the example is over")
            print(f"{worker.kind}: {await graceful_shutdown_tree(self.manager, child.pid, ask, 20, 20)}")
        await self.manager.wait_for_exit(child.pid)
        print(f"{worker.kind}: gone")


if __name__ == "__main__":
    asyncio.run(Application().run(tuple(each for each in WORKERS if shutil.which(str(each.program)))))
