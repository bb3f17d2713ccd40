"""A supervisor to be killed: ``python -m benchmarks.supervised MECHANISM TARGET TREES SIZE FD``."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

from treeguard import LocalProcessManager, SpawnParams


async def main(mechanism: Any, target: str, trees: int, size: int, fd: int) -> None:
    """Starts trees whose members hold the descriptor, lets go of it itself, and stays."""
    async with LocalProcessManager(containment=mechanism) as manager:
        params = SpawnParams(program=target, args=("wide", str(size)), stdout=fd)
        for _ in range(trees):
            await manager.spawn_child(params)
        os.close(fd)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])))
