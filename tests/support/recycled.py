"""Process ids that are given away anew: in a pid namespace that has only some hundreds of them.

    unshare --pid --fork --mount-proc python -m tests.support.recycled SCENE MECHANISM PROGRAM [CALL…]

This process is the namespace's init, so that whatever loses its parent is its own to reap. Nothing happens on the event
loop between the moment that a number is free and the one in which a bystander has it. Calls that are named are missing.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from treeguard import ChildHandle, GuardLost, LocalProcessManager, SpawnParams

from .judge import look
from .patience import PATIENCE, wait_until
from .seccomp import forbid

__all__ = ["SCENES"]

#: The least that the kernel allows is 301: the first 300 are not given away again.
_PID_MAX, _RESERVED = 340, 300


class Bystander:
    """A process that has a certain number, and leads a group of that number."""

    def __init__(self, number: int) -> None:
        self.pid = number
        for _ in range(4 * _PID_MAX):
            pid = os.fork()
            if pid == 0:
                if os.getpid() != number:
                    os._exit(0)
                os.setpgid(0, 0)
                while True:
                    signal.pause()
            if pid == number:
                wait_until(self._leads, "the bystander leads its group")
                return
            os.waitpid(pid, 0)
        raise AssertionError(f"the number {number} was not given away again")

    def _leads(self) -> bool:
        seen = look(self.pid)
        return seen is not None and seen.group == self.pid

    def close(self) -> str:
        """Whether it was left alone, after a moment for signals to arrive."""
        with contextlib.suppress(ChildProcessError):
            if os.waitpid(self.pid, os.WNOHANG)[0]:
                return "hit"
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        return "spared"


def _use_up_the_reserved() -> None:
    pid = 0
    while pid <= _RESERVED:
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)


def _let_time_pass() -> None:
    """The time at which a process started is known in ticks of the clock."""
    end = time.monotonic() + 4 / os.sysconf("SC_CLK_TCK")
    wait_until(lambda: time.monotonic() > end, "some ticks pass")


def _reap(pid: int) -> None:
    wait_until(lambda: _reaped(pid), f"{pid} is gone")


def _reaped(pid: int) -> bool:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    return look(pid) is None


async def _all_verbs(manager: LocalProcessManager, child: ChildHandle) -> None:
    await manager.terminate_tree(child.pid)
    await manager.kill_tree(child.pid)
    with contextlib.suppress(GuardLost):
        assert await manager.wait_for_exit(child.pid, PATIENCE)


async def _guard_lost(manager: LocalProcessManager, program: str) -> str:
    """Guard and root are gone, and another process has the root's number before the supervisor looks."""
    child = await manager.spawn_child(SpawnParams(program))
    _let_time_pass()
    root = look(child.os_pid)
    assert root is not None
    os.kill(root.parent, signal.SIGKILL)
    _reap(child.os_pid)
    bystander = Bystander(child.os_pid)
    await _all_verbs(manager, child)
    return bystander.close()


async def _root_ended(manager: LocalProcessManager, program: str) -> str:
    """The root has ended, a descendant outside its group lives, and another process has the root's number."""
    child = await manager.spawn_child(SpawnParams("sh", ("-c", f"setsid {program} & sleep 0.05")))
    contains = manager.containment.contains_escapees
    if contains:
        _reap(child.os_pid)
    else:
        wait_until(lambda: (seen := look(child.os_pid)) is None or seen.state == "Z", "the root has ended")
        await manager.wait_for_root(child.pid, PATIENCE)
        _reap(child.os_pid)
    bystander = Bystander(child.os_pid)
    await _all_verbs(manager, child)
    return bystander.close()


async def _reaped_by_the_host(manager: LocalProcessManager, program: str, *, by_its_root: bool = False) -> str:
    """The host has reaped what it did not start, and another process has that number before the supervisor looks."""
    child = await manager.spawn_child(SpawnParams(program))
    _let_time_pass()
    root = look(child.os_pid)
    assert root is not None
    ours = child.os_pid if root.parent == os.getpid() else root.parent
    os.kill(child.os_pid if by_its_root else ours, signal.SIGKILL)
    _reap(ours)
    bystander = Bystander(ours)
    await _all_verbs(manager, child)
    return bystander.close()


async def _ended_and_reaped_by_the_host(manager: LocalProcessManager, program: str) -> str:
    """The same with a guard that has said its last word and left, because its root had ended."""
    return await _reaped_by_the_host(manager, program, by_its_root=True)


async def _control(manager: LocalProcessManager, program: str) -> str:
    """Control: a remembered number, signalled, reaches another process."""
    child = await manager.spawn_child(SpawnParams(program))
    remembered = child.os_pid
    await manager.kill_tree(child.pid)
    assert await manager.wait_for_exit(child.pid, PATIENCE)
    _reap(remembered)
    bystander = Bystander(remembered)
    os.killpg(remembered, signal.SIGTERM)
    wait_until(lambda: (seen := look(remembered)) is None or seen.state == "Z", "the signal has arrived")
    return bystander.close()


SCENES: dict[str, Callable[[LocalProcessManager, str], Awaitable[str]]] = {
    "control": _control,
    "guard lost": _guard_lost,
    "root ended": _root_ended,
    "reaped by the host": _reaped_by_the_host,
    "ended and reaped by the host": _ended_and_reaped_by_the_host,
}


async def _play(scene: str, mechanism: Any, program: str) -> str:
    async with LocalProcessManager(containment=mechanism) as manager:
        return await SCENES[scene](manager, program)


def main() -> None:
    scene, mechanism, program, *missing = sys.argv[1:]
    assert os.getpid() == 1
    Path("/proc/sys/kernel/pid_max").write_text(str(_PID_MAX), "ascii")
    _use_up_the_reserved()
    logging.getLogger("treeguard").addHandler(logging.NullHandler())
    forbid(missing, errno.ENOSYS)
    print(asyncio.run(_play(scene, mechanism, program)))


if __name__ == "__main__":
    main()
