"""What a supervisor sees of trees in PID namespaces, in a process of its own: as another user, or in a bad place."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import errno
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import treeguard
from treeguard._core import native, running
from treeguard._core.containment import host
from treeguard._core.containment.pid_namespace import try_pid_namespace
from treeguard._core.processes.namespaces import inner_number
from treeguard.params import Isolation
from treeguard.types import Mechanism

from .attacks import LIMITED, READING, SIGNALS, TRACING
from .judge import children, look
from .ordinary import become, import_all
from .patience import until

__all__ = ["answers", "named_when_joined", "told_in_a_chroot", "told_with_limit", "what_works_on"]

#: What a process inside tells of itself.
_ASKED = (
    "echo $$; id -u; sed -n 's/Cap[EP][fr][fm]:.//p' /proc/self/status; ls /proc | grep -c '^[0-9]*$'; cat /proc/1/comm"
)


def answers(
    guard: str, uid: int, options: dict[str, Any], containment: Mechanism, isolation: Isolation | None
) -> list[str]:
    """The answers of a process inside: its number, its user, its capabilities, how many it sees, the name of init."""
    import_all()
    codecs.lookup("ascii")  # imported late, too
    native.GUARD = guard
    os.chdir("/")
    become(uid)
    done = treeguard.run(
        ["sh", "-c", _ASKED],
        containment=containment,
        isolation=isolation,
        stdout=treeguard.PIPE,
        text=True,
        check=True,
        **options,
    )
    return str(done.stdout).split()


def named_when_joined(guard: str, uid: int, mechanism: Mechanism) -> tuple[bool, bool, bool, bool, str]:
    """Of a process that joined a tree from outside: whether it is a member, and of another tree as well.

    Then whether it still is one when nothing else is left, and whether it is named in the end, when it is a zombie; and
    what is told.
    """
    import_all()
    codecs.lookup("ascii")  # imported late, too
    native.GUARD = guard
    os.chdir("/")
    become(uid)
    return asyncio.run(_join(mechanism))


async def _join(mechanism: Mechanism) -> tuple[bool, bool, bool, bool, str]:
    manager = treeguard.LocalProcessManager(containment=mechanism)
    async with contextlib.AsyncExitStack() as stack:
        await manager.__aenter__()
        params = treeguard.SpawnParams("sleep", ("1000",), isolation="pid_namespace")
        trees = [manager.tree((await manager.spawn_child(params)).pid) for _ in range(2)]
        enter = ("nsenter", "-t", str(trees[0].pid), "-U", "-p", "--preserve-credentials", "--no-fork")
        # The shell itself stays outside. What it becomes then reaps nobody.
        stranger = subprocess.Popen([*enter, "sh", "-c", "sleep 2000 & exec sleep 1000"])
        stack.callback(stranger.wait)
        stack.callback(stranger.kill)
        await until(lambda: [*map(inner_number, children(stranger.pid))] > [0], "it has joined")
        (joined,) = children(stranger.pid)
        await until(lambda: getattr(look(joined), "name", "") == "sleep", "it runs")
        first, second = [joined in await tree.members() for tree in trees]
        trees[0].send_signal(signal.SIGKILL)
        await trees[0].wait()
        alone = joined in await trees[0].members()
        running.LEAVE_TIMEOUT = 1.0
        try:
            await manager.close()
        except treeguard.TreeNotEmpty as error:
            told = str(error)
        else:
            told = ""
    words = f"{joined} sleep (a zombie that its parent {stranger.pid} sleep does not reap)"
    return first, second, alone, words in told, told


def told_in_a_chroot(guard: str) -> str | None:
    """Why there is no PID namespace in a chroot: the kernel refuses user namespaces there (unshare(2), EPERM)."""
    native.GUARD = f"/{Path(guard).name}"
    import_all()
    os.chroot(Path(guard).parent)
    os.chdir("/")
    return try_pid_namespace()


def told_with_limit(guard: str, name: str) -> list[str | None]:
    """What is told while a limit on namespaces is 0, and after. The limit is that of a user namespace around this."""
    native.GUARD = guard
    import_all()
    path = Path("/proc/sys/user") / name
    path.write_text("0\n", "ascii")
    told = try_pid_namespace()
    assert host.System().try_out("subreaper") is None
    path.write_text("100\n", "ascii")
    return [told, try_pid_namespace(), os.strerror(errno.ENOSPC)]


def what_works_on(numbers: list[int]) -> list[tuple[str, int]]:
    """To be run inside: the attacks that succeed on processes of these numbers, and whom of all it can signal."""
    found = []
    for pid in numbers:
        # Some tell nothing of whether they have hit.
        for name, attack in {**SIGNALS, **TRACING, **READING, **LIMITED}.items():
            with contextlib.suppress(OSError):
                attack(pid)
                if "SIGIO" not in name and name != "a stranger":
                    found.append((name, pid))
    for pid in range(1, int(Path("/proc/sys/kernel/pid_max").read_text("ascii"))):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 0)
            found.append(("signal 0", pid))
    return found
