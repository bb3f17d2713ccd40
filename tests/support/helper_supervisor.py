"""A supervisor that is itself a helper: ``python -m tests.support.helper_supervisor WAY CONTAINMENT BOUND``.

It starts a tree that tells the process ids of its two processes, the second of which has left the root's session. It
says ``over`` when the tree has ended, and then what comes of starting another one.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import treeguard
from treeguard import LocalProcessManager, SpawnError, SpawnParams, arun, open_tree

__all__ = ["COMMAND", "WAYS"]

COMMAND = ("sh", "-c", "setsid sh -c 'echo $$; exec sleep 1000' & echo $$; exec sleep 1000")


async def _spawned(manager: LocalProcessManager, **options: Any) -> None:
    child = await manager.spawn_child(SpawnParams(COMMAND[0], COMMAND[1:], **options))
    await manager.wait_for_exit(child.pid)


async def _by_manager(containment: Any, options: dict[str, Any]) -> None:
    async with LocalProcessManager(containment=containment, **options) as manager:
        await _spawned(manager)


async def _by_params(containment: Any, options: dict[str, Any]) -> None:
    async with LocalProcessManager(containment=containment) as manager:
        await _spawned(manager, **options)


async def _by_open_tree(containment: Any, options: dict[str, Any]) -> None:
    async with open_tree(*COMMAND, containment=containment, **options) as tree:
        await tree.wait_empty()


async def _by_arun(containment: Any, options: dict[str, Any]) -> None:
    await arun(COMMAND, containment=containment, stdin=subprocess.DEVNULL, **options)


def _by_run(containment: Any, options: dict[str, Any]) -> None:
    treeguard.run(COMMAND, containment=containment, stdin=subprocess.DEVNULL, **options)


def _by_popen(containment: Any, options: dict[str, Any]) -> None:
    with treeguard.subprocess.Popen(COMMAND, containment=containment, stdin=subprocess.DEVNULL, **options) as process:
        process.wait()


WAYS: dict[str, Callable[[Any, dict[str, Any]], Any]] = {
    "manager": _by_manager,
    "params": _by_params,
    "open_tree": _by_open_tree,
    "arun": _by_arun,
    "run": _by_run,
    "Popen": _by_popen,
}


def main() -> None:
    """Starts a tree, and after its end another one."""
    way, containment, bound = sys.argv[1:]
    options = {"die_with_parent": True} if bound == "bound" else {}
    for _ in range(2):
        try:
            coroutine = WAYS[way](containment, options)
            if coroutine is not None:
                asyncio.run(coroutine)
            print("over", flush=True)
        except SpawnError as error:
            print("refused", error.step, flush=True)
        except treeguard.ContainmentUnavailable as error:
            print("unavailable", error, flush=True)
            return


if __name__ == "__main__":
    main()
