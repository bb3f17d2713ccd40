"""A host application that owns a tree and does nothing else: ``python -m tests.windows.supervisor < CONFIG``.

``how`` is ``treeguard``, or for control ``subprocess``. The report pipe is a descriptor or an inherited handle.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from typing import Any

from treeguard import LocalProcessManager, SpawnParams

assert sys.platform == "win32"
import msvcrt  # noqa: E402 - only there


def _announce() -> None:
    print("spawned", flush=True)
    # Blocks the loop, as a busy application might.
    sys.stdin.readline()


async def _own(config: dict[str, Any], fd: int) -> None:
    async with LocalProcessManager() as manager:
        await manager.spawn_child(
            SpawnParams(program=config["program"], args=(config["kind"], f"fd{fd}"), pass_fds=(fd,))
        )
        os.close(fd)
        _announce()


def main() -> None:
    config = json.loads(sys.stdin.readline())
    fd = config["fd"] if "fd" in config else msvcrt.open_osfhandle(config["handle"], 0)
    if config["how"] == "treeguard":
        asyncio.run(_own(config, fd))
        return
    handle = msvcrt.get_osfhandle(fd)
    os.set_handle_inheritable(handle, True)
    subprocess.Popen([config["program"], config["kind"], str(handle)], close_fds=False)
    os.close(fd)
    _announce()


if __name__ == "__main__":
    main()
