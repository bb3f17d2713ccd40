"""Starting trees with :mod:`asyncio.subprocess`'s signatures."""

from __future__ import annotations

import os
import sys
from typing import Any

from ..params import SpawnParams, StrPath
from ..tree import Tree
from .loops import manager_of_loop
from .popen import program_named, spawn_options, streams_named, without_text

__all__ = ["create_subprocess_exec", "create_subprocess_shell", "shell_command"]


async def create_subprocess_exec(
    program: StrPath | bytes,
    *args: StrPath | bytes,
    stdin: Any = None,
    stdout: Any = None,
    stderr: Any = None,
    limit: int | None = None,
    **kwds: Any,
) -> Tree:
    """Starts a program as :func:`asyncio.create_subprocess_exec` does. Returns its :class:`~treeguard.Tree`.

    The tree belongs to the running loop, and ends with it at the latest. Streams are inherited unless they are
    redirected, and ``env`` is the whole environment, as with :mod:`subprocess`, whose other arguments are taken too
    where they make sense for a tree; the rest raises ValueError. So are the fields of :class:`~treeguard.SpawnParams`.

    ``limit``, in bytes, limits the lines that the outputs' ``readline`` returns, as asyncio's does, and what is read
    ahead. None: lines may be of any length, and 64 KiB are read ahead. Raises :class:`~treeguard.SpawnError`, which is
    also the error that asyncio would have raised::

        tree = await treeguard.create_subprocess_exec("ls", "/", stdout=treeguard.PIPE)
        output, _ = await tree.communicate()
        print(output.decode(), tree.returncode)
    """
    without_text(kwds, shell=False)
    program = program_named(program, kwds)
    options = spawn_options(kwds)
    return await _created(program, args, (stdin, stdout, stderr), limit, options)


async def create_subprocess_shell(
    cmd: str | bytes,
    stdin: Any = None,
    stdout: Any = None,
    stderr: Any = None,
    limit: int | None = None,
    **kwds: Any,
) -> Tree:
    """Starts a command line of the shell as :func:`asyncio.create_subprocess_shell` does. Returns its tree.

    See :func:`create_subprocess_exec` for the rest. On Windows the shell is ``cmd.exe``::

        tree = await treeguard.create_subprocess_shell("ls / | sort -r", stdout=treeguard.PIPE)
        print(await tree.communicate())
    """
    if not isinstance(cmd, str | bytes):
        raise ValueError("cmd must be a string")
    without_text(kwds, shell=True)
    executable = kwds.pop("executable", None)
    options = spawn_options(kwds)
    program, *args = shell_command(cmd, executable)
    return await _created(program, tuple(args), (stdin, stdout, stderr), limit, options)


def shell_command(cmd: Any, executable: StrPath | None) -> list[Any]:
    """The shell and its arguments for a command line."""
    if sys.platform == "win32":
        return [executable or os.environ.get("COMSPEC") or "cmd.exe", "/c", cmd]
    return [executable or "/bin/sh", "-c", cmd]


async def _created(
    program: Any, args: tuple[Any, ...], streams: tuple[Any, Any, Any], limit: int | None, options: dict[str, Any]
) -> Tree:
    params = SpawnParams(program, args, **streams_named(*streams), **options)
    if limit is not None and limit <= 0:
        raise ValueError("limit must be positive")
    manager = manager_of_loop()
    child = await manager.spawn_child(params)
    tree = manager.tree(child.pid)
    pipes = tree._record.streams
    if limit is not None and pipes is not None:
        for reader in pipes.readers:
            reader.limit_lines(limit)
    return tree
