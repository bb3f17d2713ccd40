"""examples/agent_tool.py with asyncio.subprocess, as well as that can do it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE
from collections import Counter

#: What a model asks for, and the seconds that it may take: answers, more than fits, failures, and a command that hangs,
#: with a process in a session of its own.
CALLS = [
    *[("echo answer; echo note >&2", 60)] * 20,
    *[("seq 1000000", 60)] * 10,
    *[("echo no such table >&2; exit 3", 60)] * 10,
    *[("setsid sleep 1000 & sleep 1000", 1)] * 10,
]


async def call_tool(command: str, timeout: float) -> tuple[str, str, str]:
    """How a shell command ended, and its two outputs: as much of them as there was in time, and fits."""
    process = await asyncio.create_subprocess_shell(
        command, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, start_new_session=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    out, err = bytearray(), bytearray()
    done = asyncio.gather(read(process.stdout, out), read(process.stderr, err), process.wait())
    try:
        await asyncio.wait_for(done, timeout)
        how = f"exit code {process.returncode}"
    except asyncio.TimeoutError:
        how = "timed out"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process._transport.close()  # type: ignore[attr-defined] # a process may hold the output, and wait() waits for it
        await process.wait()
    return how, out.decode(errors="replace"), err.decode(errors="replace")


async def read(stream: asyncio.StreamReader, kept: bytearray) -> None:
    """Keeps a megabyte of what a stream brings."""
    while chunk := await stream.read(1 << 16):
        kept += chunk[: (1 << 20) - len(kept)]


async def main() -> None:
    """Calls them all at the same time."""
    results = await asyncio.gather(*(call_tool(*call) for call in CALLS))
    for (how, out, err), count in sorted(Counter((how, len(out), len(err)) for how, out, err in results).items()):
        print(f"{count} calls: {how}, {out} and {err} bytes")


if __name__ == "__main__":
    asyncio.run(main())
