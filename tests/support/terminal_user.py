"""A supervisor in a terminal: ``python -m tests.support.terminal_user CALL MECHANISM`` runs children that need it.

After each child it tells how that ended and whether it is in the foreground itself.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import treeguard
from treeguard.aio.loops import replace_managers
from treeguard.subprocess import Popen

__all__ = ["CALLS", "CHILDREN"]

_GETPASS = "import getpass; print('secret', getpass.getpass('Whisper: '))"
#: What each child does, and its words.
CHILDREN = {
    "prints": ["sh", "-c", "echo is' 'printed"],
    "sets": ["stty", "-echo"],
    "resets": ["stty", "echo"],
    "getpass": [sys.executable, "-c", _GETPASS],
    "reads": ["sh", "-c", "echo ask' 'me; read -r line; echo \"<$line>\""],
    "opens": ["sh", "-c", "exec </dev/null; echo ask' 'again; read -r line </dev/tty; echo \"<$line>\""],
}


def _run(words: list[str], mechanism: Any) -> int:
    return treeguard.run(words, containment=mechanism).returncode


def _popen(words: list[str], mechanism: Any) -> int:
    return Popen(words, containment=mechanism).wait()


async def _arun(words: list[str], manager: Any) -> int:
    return (await treeguard.arun(words, manager=manager)).returncode


async def _open_tree(words: list[str], manager: Any) -> int:
    async with treeguard.open_tree(*words, stdin="inherit", manager=manager) as tree:
        return await tree.wait()


async def _create(words: list[str], manager: Any) -> int:
    replace_managers(lambda loop: manager)
    return await (await treeguard.create_subprocess_exec(*words)).wait()


async def _spawn_child(words: list[str], manager: Any) -> int:
    params = treeguard.SpawnParams(words[0], words[1:], stdin="inherit")
    child = await manager.spawn_child(params)
    assert await manager.wait_for_exit(child.pid)
    ended = await manager.wait_for_root(child.pid)
    return int(ended.code)


def _on_loop(call: Callable[[list[str], Any], Awaitable[int]]) -> Callable[[list[str], Any], int]:
    async def within(words: list[str], mechanism: Any) -> int:
        async with treeguard.LocalProcessManager(containment=mechanism) as manager:
            return await call(words, manager)

    return lambda words, mechanism: asyncio.run(within(words, mechanism))


#: Each way to run a child: the words and the mechanism, to the exit code.
CALLS: dict[str, Callable[[list[str], Any], int]] = {
    "run": _run,
    "Popen": _popen,
    "arun": _on_loop(_arun),
    "open_tree": _on_loop(_open_tree),
    "create_subprocess_exec": _on_loop(_create),
    "spawn_child": _on_loop(_spawn_child),
}


def main(call: str, mechanism: str) -> None:
    """Runs all children one after another."""
    for name, words in CHILDREN.items():
        code = CALLS[call](words, mechanism)
        print(f"{name}: {code}, foreground: {os.tcgetpgrp(0) == os.getpgrp()}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
