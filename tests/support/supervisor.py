"""A host application that spawns trees and comes to an end, in one of the ways that programs do.

    python -m tests.support.supervisor < CONFIG

The configuration is a line of JSON on standard input, so that no marker shows in this process's own command line. When
the trees run, a line of JSON tells their roots; after the next line of input comes the end.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import sys
import threading
from typing import Any

from treeguard import ChildHandle, LocalProcessManager, SpawnParams

from .patience import LIFETIME

#: Outlives the event loop: what an application forgets in a global variable.
forgotten: list[LocalProcessManager] = []


async def spawn(manager: LocalProcessManager, config: dict[str, Any]) -> list[ChildHandle]:
    """Spawns what is asked for, and lets go of the pipes."""
    children = []
    for argv, fd in config["trees"]:
        params = SpawnParams(argv[0], tuple(argv[1:]), pass_fds=(fd,), new_session=config["new_session"])
        children.append(await manager.spawn_child(params))
        os.close(fd)
    return children


def fork_copy(how: str | None) -> int | None:
    """A copy without exec that goes on living; ``"libc"`` makes it behind Python's back, so that no hook runs."""
    if how is None:
        return None
    pid = os.fork() if how == "python" else ctypes.PyDLL(None).fork()
    if pid == 0:
        signal.alarm(int(LIFETIME))
        while True:
            signal.pause()
    return int(pid)


def announce(children: list[ChildHandle], copy: int | None) -> None:
    """Tells that everything runs, and waits for the word."""
    print(json.dumps({"roots": [child.os_pid for child in children], "copy": copy}), flush=True)
    sys.stdin.readline()


async def end(how: str) -> None:
    """Comes to an end, or returns so that the caller does."""
    if how == "abort":
        os.abort()
    elif how == "segfault":
        ctypes.string_at(0)
    elif how == "_exit":
        os._exit(3)
    elif how == "exec":
        os.execv(sys.executable, [sys.executable, "-c", "input()"])
    elif how == "raise":
        raise ZeroDivisionError
    elif how.startswith("SIG"):
        os.kill(os.getpid(), signal.Signals[how])
        await asyncio.sleep(LIFETIME)


async def host(config: dict[str, Any]) -> None:
    """The application: with its manager left open, or held the way it should be."""
    if config["held"]:
        async with LocalProcessManager(containment=config["containment"], isolation=config["isolation"]) as manager:
            announce(await spawn(manager, config), fork_copy(config["fork"]))
            await end(config["end"])
        return
    manager = LocalProcessManager(containment=config["containment"], isolation=config["isolation"])
    if config["global"]:
        forgotten.append(manager)
    announce(await spawn(manager, config), fork_copy(config["fork"]))
    await end(config["end"])


def main() -> None:
    config = json.loads(sys.stdin.readline())
    if not config["thread"]:
        asyncio.run(host(config))
        return
    thread = threading.Thread(target=lambda: asyncio.run(host(config)))
    thread.start()
    thread.join()


if __name__ == "__main__":
    main()
