"""The ways to start a tree, each with a script of the shell as its root."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from typing import Any

import treeguard
from treeguard import PIPE, LocalProcessManager, subprocess

__all__ = ["LIKE_POPEN", "MECHANISM", "WAYS", "out", "told"]

#: It keeps what it promises everywhere, and a limit of the memory by a limit of each process.
MECHANISM: Any = "subreaper"


# The ways to start a tree. Each returns what a script of the shell writes to standard output.


def _run(command: list[str], options: dict[str, Any]) -> Any:
    return subprocess.run(command, stdout=PIPE, containment=MECHANISM, **options).stdout


def _check_output(command: list[str], options: dict[str, Any]) -> Any:
    return subprocess.check_output(command, containment=MECHANISM, **options)


def _popen(command: list[str], options: dict[str, Any]) -> Any:
    with subprocess.Popen(command, stdout=PIPE, containment=MECHANISM, **options) as process:
        return process.communicate()[0]


def _called(call: Callable[..., int]) -> Callable[[list[str], dict[str, Any]], bytes]:
    def run(command: list[str], options: dict[str, Any]) -> bytes:
        with tempfile.TemporaryFile() as file:
            assert call(command, stdout=file, containment=MECHANISM, **options) == 0
            file.seek(0)
            return file.read()

    return run


async def _arun(command: list[str], options: dict[str, Any]) -> Any:
    return (await treeguard.arun(command, stdout=PIPE, containment=MECHANISM, **options)).stdout


async def _open_tree(command: list[str], options: dict[str, Any]) -> Any:
    async with treeguard.open_tree(*command, stdout=PIPE, containment=MECHANISM, **options) as tree:
        return (await tree.communicate())[0]


async def _spawn(command: list[str], options: dict[str, Any]) -> Any:
    async with LocalProcessManager(containment=MECHANISM) as manager:
        return (await (await manager.spawn(*command, stdout=PIPE, **options)).communicate())[0]


async def _exec(command: list[str], options: dict[str, Any]) -> Any:
    tree = await treeguard.create_subprocess_exec(*command, stdout=PIPE, containment=MECHANISM, **options)
    return (await tree.communicate())[0]


async def _shell(command: list[str], options: dict[str, Any]) -> Any:
    """The same command, with the shell as the root."""
    tree = await treeguard.create_subprocess_shell(command[2], stdout=PIPE, containment=MECHANISM, **options)
    return (await tree.communicate())[0]


Way = Callable[[list[str], dict[str, Any]], bytes | Awaitable[bytes]]
WAYS: dict[str, Way] = {
    "run": _run,
    "Popen": _popen,
    "call": _called(subprocess.call),
    "check_call": _called(subprocess.check_call),
    "check_output": _check_output,
    "arun": _arun,
    "create_subprocess_exec": _exec,
    "create_subprocess_shell": _shell,
    "open_tree": _open_tree,
    "spawn": _spawn,
}
#: Those that have the standard library's meaning of ``env``, of ``None`` as a stream, and of ignored signals.
LIKE_POPEN = [name for name in WAYS if name not in ("open_tree", "spawn")]


def out(name: str, command: list[str], options: dict[str, Any]) -> bytes:
    """What one of these returns."""
    result = WAYS[name](command, options)
    if isinstance(result, bytes):
        return result

    async def main() -> bytes:
        return await result

    return asyncio.run(main())


def told(name: str, script: str, **options: Any) -> str:
    """What a script writes."""
    return out(name, ["/bin/sh", "-c", script], options).decode().strip()
