"""A desktop application's case: ask a child over a pipe to save and leave, and kill it only if it doesn't."""

from __future__ import annotations

import asyncio
import os

from treeguard import LocalProcessManager, ShutdownTreeResponse, SpawnParams, graceful_shutdown_tree

#: A child that says yes to whatever it is asked, cleans up, and goes.
CHILD = "read request; echo yes; echo saved >&2; exit 0"


async def main() -> None:
    """Spawns the child with a pipe in each direction, and shuts it down."""
    async with LocalProcessManager() as manager:
        request, to_child = os.pipe()
        from_child, answer = os.pipe()
        child = await manager.spawn_child(
            SpawnParams("sh", ("-c", CHILD), kind="storage", stdin=request, stdout=answer)
        )
        os.close(request)
        os.close(answer)

        async def send_shutdown() -> ShutdownTreeResponse:
            os.write(to_child, b"please leave\n")
            said = await asyncio.get_running_loop().run_in_executor(None, os.read, from_child, 100)
            return ShutdownTreeResponse(acknowledged=said == b"yes\n")

        print(await graceful_shutdown_tree(manager, child.pid, send_shutdown, ack_timeout=5, exit_timeout=5))
        os.close(to_child)
        os.close(from_child)


if __name__ == "__main__":
    asyncio.run(main())
