"""What a child found itself to be: see ``tests/adversaries/witness.c``."""

from __future__ import annotations

import asyncio
import os
from typing import Any, NamedTuple

from treeguard import ChildHandle, LocalProcessManager, SpawnParams

from .patience import PATIENCE
from .programs import Programs

__all__ = ["Account", "hear", "read_to_end"]


class Account(NamedTuple):
    """A witness's records, and the handle it was spawned with."""

    child: ChildHandle
    records: list[tuple[str, str]]

    def all(self, name: str) -> list[str]:
        """The values of all records with this name."""
        return [value for key, value in self.records if key == name]

    def number(self, name: str) -> int:
        """The only record with this name, a number."""
        (value,) = self.all(name)
        return int(value)

    @property
    def env(self) -> dict[str, str]:
        """The environment."""
        return {name: value for name, _, value in (e.partition("=") for e in self.all("env"))}

    @property
    def unmarked_env(self) -> dict[str, str]:
        """The environment but for the mark by which a tree is known whose guard is gone."""
        return {name: value for name, value in self.env.items() if not name.startswith("TREEGUARD_TREE_")}

    @property
    def fds(self) -> dict[int, str]:
        """The open descriptors and what they are."""
        return {int(fd): target for fd, _, target in (e.partition(" ") for e in self.all("fd"))}


async def read_to_end(fd: int) -> bytes:
    """Reads a pipe until its end of file, and closes it."""
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(fd, "rb")
    )
    try:
        return await asyncio.wait_for(reader.read(), PATIENCE)
    finally:
        transport.close()


async def hear(manager: LocalProcessManager, programs: Programs, **params: Any) -> Account:
    """Spawns a witness and hears it out. Its standard output is taken."""
    read, write = os.pipe()
    try:
        child = await manager.spawn_child(SpawnParams(**{"program": programs.witness, "stdout": write, **params}))
    except BaseException:
        os.close(read)
        raise
    finally:
        os.close(write)
    text = (await read_to_end(read)).decode()
    assert await manager.wait_for_exit(child.pid, PATIENCE)
    records = [record.partition(" ") for record in text.split("\0") if record]
    return Account(child, [(name, value) for name, _, value in records])
