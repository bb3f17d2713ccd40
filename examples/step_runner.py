"""A build's case: twenty commands, four at a time, lines as they come, the end of all at the first failure."""

from __future__ import annotations

import asyncio

from treeguard import PIPE, STDOUT, Tree, open_tree

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
    async with slots, open_tree("sh", "-c", command, stdout=PIPE, stderr=STDOUT) as tree:
        (code, left), _ = await asyncio.gather(end(tree), show(name, tree))
    for pid in left:
        print(f"{name} left process {pid}")
    if code:
        raise StepFailed(f"{name} failed with exit code {code}")


async def end(tree: Tree) -> tuple[int, tuple[int, ...]]:
    """Waits for a step's end, and ends what it has left: that would hold its output."""
    code, left = await tree.wait(), await tree.members()
    tree.kill()
    return code, left


async def show(name: str, tree: Tree) -> None:
    """Prints the lines of a step, each after its name."""
    async for _, line in tree.lines(text=True, errors="replace"):
        print(f"{name} | {line}", end="")


async def main() -> None:
    """Runs all steps. The end of the loop cancels those that the first failure left, which empties their trees."""
    slots = asyncio.Semaphore(4)
    try:
        await asyncio.gather(*(run_step(name, command, slots) for name, command in STEPS.items()))
    except StepFailed as failed:
        print(failed)


if __name__ == "__main__":
    asyncio.run(main())
