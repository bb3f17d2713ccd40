"""An editor's case: a JSON-RPC server on its standard streams, which is asked to shut down, and ended if it stays."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from pathlib import Path
from typing import Any

from treeguard import PIPE, Tree, open_tree

SERVER = Path(__file__).parent / "children" / "rpc_server.py"
IDS = itertools.count(1)


async def call(server: Tree, method: str, *params: Any) -> Any:
    """Calls a method of the server. An answer may be of any length."""
    assert server.stdin is not None
    assert server.stdout is not None
    request = {"jsonrpc": "2.0", "id": next(IDS), "method": method, "params": params}
    server.stdin.write(json.dumps(request).encode() + b"\n")
    await server.stdin.drain()
    return json.loads(await server.stdout.readline())["result"]


async def main() -> None:
    """Starts the server, calls it, and asks it to shut down."""
    async with open_tree(sys.executable, SERVER, stdin=PIPE, stdout=PIPE) as server:
        print("answer:", len(await call(server, "repeat", "ab", 100_000)), "characters")
        await call(server, "shutdown")
        print("server ended with exit code", await asyncio.wait_for(server.wait(), 10))
        report = await server.shutdown(grace=0.5)  # SIGTERM, half a second, SIGKILL
        print("helper had to be killed:", report.forced)


if __name__ == "__main__":
    asyncio.run(main())
