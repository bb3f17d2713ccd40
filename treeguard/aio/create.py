"""Starting trees with :mod:`asyncio.subprocess`'s signatures."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from .._core.options import ExecOptions, ShellOptions, keywords_of, show_keywords
from .._core.standard_names import params_of
from ..local import LocalProcessManager
from ..params import SpawnParams, StrPath
from ..tree import Tree
from .loops import manager_for

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["create_subprocess_exec", "create_subprocess_shell", "for_shell", "shell_command"]


async def create_subprocess_exec(
    program: StrPath | bytes, *args: StrPath | bytes, limit: int | None = None, **kwds: Unpack[ExecOptions]
) -> Tree:
    """Starts a program as :func:`asyncio.create_subprocess_exec` does. Returns its :class:`~treeguard.Tree`.

    The tree belongs to ``manager``, or to the running loop's own one for the mechanism ``containment``, and ends with
    that at the latest. Streams are inherited unless they are redirected, ``env`` is the whole environment, and the
    child ignores what this process ignores, as with :mod:`subprocess`. The other arguments are that module's and the
    fields of :class:`~treeguard.SpawnParams`. What makes no sense for a tree raises ValueError.

    ``limit``, in bytes, limits the lines that the outputs' ``readline`` returns, as asyncio's does. About twice that is
    read ahead. None: lines may be of any length, and about 128 KiB are read ahead. Raises
    :class:`~treeguard.SpawnError`, which is also the error that asyncio would have raised::

        tree = await treeguard.create_subprocess_exec("ls", "/", stdout=treeguard.PIPE)
        output, _ = await tree.communicate()
        print(output.decode(), tree.returncode)
    """
    given: dict[str, Any] = {**kwds}
    _check_bytes(given, shell=False)
    manager = manager_for(given.pop("manager", None), given.pop("containment", "auto"))
    params = params_of("create_subprocess_exec", program, args, given, like_popen=True)
    return await _created(manager, params, limit)


async def create_subprocess_shell(
    cmd: str | bytes,
    stdin: Any = None,
    stdout: Any = None,
    stderr: Any = None,
    limit: int | None = None,
    **kwds: Unpack[ShellOptions],
) -> Tree:
    """Starts a command line of the shell as :func:`asyncio.create_subprocess_shell` does. Returns its tree.

    See :func:`create_subprocess_exec` for the rest. On Windows the shell is ``cmd.exe``::

        tree = await treeguard.create_subprocess_shell("ls / | sort -r", stdout=treeguard.PIPE)
        print(await tree.communicate())
    """
    if not isinstance(cmd, str | bytes):
        raise ValueError("cmd must be a string")
    given: dict[str, Any] = {"stdin": stdin, "stdout": stdout, "stderr": stderr, **kwds}
    _check_bytes(given, shell=True)
    program, *args = shell_command(cmd, given.pop("executable", None))
    manager = manager_for(given.pop("manager", None), given.pop("containment", "auto"))
    params = params_of("create_subprocess_shell", program, args, given, like_popen=True)
    return await _created(manager, for_shell(params, cmd), limit)


def shell_command(cmd: Any, executable: StrPath | None) -> list[Any]:
    """The shell and its arguments for a command line."""
    if sys.platform == "win32":
        return [executable or os.environ.get("COMSPEC") or "cmd.exe", "/c", cmd]
    return [executable or "/bin/sh", "-c", cmd]


def for_shell(params: SpawnParams, command: str | bytes) -> SpawnParams:
    """The parameters of a shell, which on Windows gets a command as it was written: it knows no quoted quotes."""
    if sys.platform != "win32":
        return params
    from .._core.spec.command_line import shell_line, with_line  # noqa: PLC0415 - of Windows

    return with_line(params, shell_line(os.fsdecode(command))[1])


def _check_bytes(given: dict[str, Any], *, shell: bool) -> None:
    """Takes out what asyncio refuses to change. Raises ValueError, as asyncio does."""
    for name in ("universal_newlines", "text"):
        if given.pop(name, None):
            raise ValueError(f"{name} must be False")
    for name in ("encoding", "errors"):
        if given.pop(name, None) is not None:
            raise ValueError(f"{name} must be None")
    if given.pop("shell", shell) is not shell:
        raise ValueError(f"shell must be {shell}")
    if given.pop("bufsize", 0) != 0:
        raise ValueError("bufsize must be 0")


async def _created(manager: LocalProcessManager, params: SpawnParams, limit: int | None) -> Tree:
    if limit is not None and limit <= 0:
        raise ValueError("limit must be positive")
    child = await manager.spawn_child(params)
    tree = manager.tree(child.pid)
    pipes = tree._record.streams
    if limit is not None and pipes is not None:
        for reader in pipes.readers:
            reader.limit_lines(limit)
    return tree


show_keywords(create_subprocess_exec, keywords_of(ExecOptions, defaults={"bufsize": 0}))
show_keywords(create_subprocess_shell, keywords_of(ShellOptions, defaults={"bufsize": 0, "shell": True}))
