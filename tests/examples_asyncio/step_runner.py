"""examples/step_runner.py with asyncio.subprocess and psutil, as well as these can do it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process

import psutil

#: By name. One leaves a process that holds its output, one fails, and the last ones would take for ever.
STEPS = {
    "index": "setsid sleep 1000 & echo indexed",
    **{f"compile {n}": f"echo compiling {n}; echo compiled {n}" for n in range(15)},
    "test": "echo testing; sleep 1; exit 3",
    **{f"deploy {n}": "sleep 1000" for n in range(3)},
}


class StepFailed(Exception):
    """Says which step failed, and how."""


async def run_step(name: str, command: str, slots: asyncio.Semaphore) -> None:
    """Runs a step when there is room, and shows its lines. Raises :class:`StepFailed`."""
    async with slots:
        process = await asyncio.create_subprocess_shell(
            command, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT, start_new_session=True
        )
        showing = asyncio.create_task(show(name, process))
        try:
            while process.returncode is None:  # noqa: ASYNC110 - a process may hold the output, and wait() waits for it
                await asyncio.sleep(0.01)
            left = [each.pid for each in psutil.process_iter() if in_group(each, process.pid)]
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await asyncio.wait({showing}, timeout=0.5)
            showing.cancel()
            process._transport.close()  # type: ignore[attr-defined]
            await process.wait()
    for pid in left:
        print(f"{name} left process {pid}")
    if process.returncode:
        raise StepFailed(f"{name} failed with exit code {process.returncode}")


def in_group(process: psutil.Process, group: int) -> bool:
    """Whether a process is in a group. Those that left it are not found."""
    with contextlib.suppress(ProcessLookupError):
        return os.getpgid(process.pid) == group
    return False


async def show(name: str, process: Process) -> None:
    """Prints the lines of a step, each after its name."""
    assert process.stdout is not None
    async for line in process.stdout:
        print(f"{name} | {line.decode(errors='replace')}", end="")


async def main() -> None:
    """Runs all steps. The end of the loop cancels those that the first failure left."""
    slots = asyncio.Semaphore(4)
    try:
        await asyncio.gather(*(run_step(name, command, slots) for name, command in STEPS.items()))
    except StepFailed as failed:
        print(failed)


if __name__ == "__main__":
    asyncio.run(main())
