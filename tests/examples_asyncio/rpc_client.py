"""examples/rpc_client.py with asyncio.subprocess, as well as that can do it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from typing import Any

SERVER = Path(__file__).parents[2] / "examples" / "children" / "rpc_server.py"
IDS = itertools.count(1)


async def call(server: Process, method: str, *params: Any) -> Any:
    """Calls a method of the server. An answer may be of a megabyte."""
    assert server.stdin is not None
    assert server.stdout is not None
    request = {"jsonrpc": "2.0", "id": next(IDS), "method": method, "params": params}
    server.stdin.write(json.dumps(request).encode() + b"\n")
    await server.stdin.drain()
    return json.loads(await server.stdout.readline())["result"]


async def main() -> None:
    """Starts the server, calls it, and asks it to shut down."""
    server = await asyncio.create_subprocess_exec(
        sys.executable, SERVER, stdin=PIPE, stdout=PIPE, limit=1 << 20, start_new_session=True
    )
    try:
        print("answer:", len(await call(server, "repeat", "ab", 100_000)), "characters")
        await call(server, "shutdown")
        while server.returncode is None:  # noqa: ASYNC110 - the helper holds the output, and wait() waits for its end
            await asyncio.sleep(0.01)
        print("server ended with exit code", server.returncode)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server._transport.close()  # type: ignore[attr-defined]
        await server.wait()


if __name__ == "__main__":
    asyncio.run(main())
