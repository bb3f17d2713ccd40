"""A build tool's case: run somebody else's command under a deadline, and leave nothing of it behind."""

from __future__ import annotations

import asyncio

from treeguard import LocalProcessManager, SpawnParams

#: Forks workers, one of them into a session of its own, and hangs.
COMMAND = "setsid sleep 1000 & sleep 1000 & echo working; wait"


async def main() -> None:
    """Runs the command, waits for a moment, and ends it."""
    async with LocalProcessManager() as manager:
        child = await manager.spawn_child(SpawnParams("sh", ("-c", COMMAND)))
        if not await manager.wait_for_exit(child.pid, timeout=0.2):
            print("too slow: ending it, and all that it started")
            await manager.kill_tree(child.pid)
        print("empty:", await manager.wait_for_exit(child.pid, timeout=10))


if __name__ == "__main__":
    asyncio.run(main())
