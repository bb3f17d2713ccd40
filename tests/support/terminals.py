"""Trees at terminals of their own, and a shell there."""

from __future__ import annotations

import asyncio

from treeguard import (
    LocalProcessManager,
    Tree,
)
from treeguard.pty import Pty

from .patience import PATIENCE

__all__ = ["BASH", "PROMPT", "answer", "bash", "pty_of", "read_all", "read_until"]

#: A shell with its job control, and a prompt that is in no command.
BASH = ("bash", "--norc", "--noprofile", "--noediting", "-i")
PROMPT = b"prompt-> "


def pty_of(tree: Tree) -> Pty:
    assert tree.pty is not None
    return tree.pty


async def read_all(tree: Tree) -> bytes:
    return await asyncio.wait_for(pty_of(tree).read(), PATIENCE)


async def read_until(tree: Tree, text: bytes) -> bytes:
    return await asyncio.wait_for(pty_of(tree).readuntil(text), PATIENCE)


async def bash(manager: LocalProcessManager) -> Tree:
    """A shell that waits for a command."""
    tree = await manager.spawn(*BASH, env={"PS1": PROMPT.decode(), "TERM": "dumb"}, pty=True)
    await read_until(tree, PROMPT)
    return tree


async def answer(tree: Tree, command: str) -> bytes:
    """What the shell writes until its next prompt, without the echo."""
    pty_of(tree).write(command.encode() + b"\n")
    return (await read_until(tree, PROMPT)).removeprefix(command.encode() + b"\r\n").removesuffix(PROMPT)
