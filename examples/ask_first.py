"""A desktop application's case: ask a child over a pipe to save and leave, and kill it only if it doesn't."""

from __future__ import annotations

import asyncio

from treeguard import PIPE, LocalProcessManager, ShutdownTreeResponse, graceful_shutdown_tree

#: A child that says yes to whatever it is asked, cleans up, and goes.
CHILD = "read request; echo yes; echo saved >&2; exit 0"


async def main() -> None:
    """Spawns the child with a pipe in each direction, and shuts it down."""
    async with LocalProcessManager() as manager:
        child = await manager.spawn("sh", "-c", CHILD, kind="storage", stdin=PIPE, stdout=PIPE)
        request, answer = child.stdin, child.stdout
        assert request is not None
        assert answer is not None

        async def send_shutdown() -> ShutdownTreeResponse:
            request.write(b"please leave\n")
            return ShutdownTreeResponse(acknowledged=await answer.readline() == b"yes\n")

        print(await graceful_shutdown_tree(manager, child.id, send_shutdown, ack_timeout=5, exit_timeout=5))


if __name__ == "__main__":
    asyncio.run(main())
