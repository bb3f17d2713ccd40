"""An agent's case: fifty tool calls at once, each with a timeout and a megabyte for each output, and nothing stays."""

from __future__ import annotations

import asyncio
from collections import Counter

import treeguard

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
    try:
        done = await treeguard.arun(
            command,
            shell=True,
            stdin=treeguard.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            max_output=1 << 20,
        )
    except treeguard.TimeoutExpired as late:
        out, err = ((each or b"").decode(errors="replace") for each in (late.stdout, late.stderr))
        return "timed out", out, err
    return f"exit code {done.returncode}", done.stdout, done.stderr


async def main() -> None:
    """Calls them all at the same time."""
    results = await asyncio.gather(*(call_tool(*call) for call in CALLS))
    for (how, out, err), count in sorted(Counter((how, len(out), len(err)) for how, out, err in results).items()):
        print(f"{count} calls: {how}, {out} and {err} bytes")


if __name__ == "__main__":
    asyncio.run(main())
