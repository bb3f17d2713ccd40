"""What a root has otherwise than its supervisor: what is given, what is seen of it, and supervisors to be run apart."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import threading
from pathlib import Path
from typing import Any

from treeguard import LocalProcessManager, SpawnError, SpawnParams
from treeguard._core import native
from treeguard.types import Mechanism

from .judge import children
from .ordinary import become, import_all
from .patience import LIFETIME, PATIENCE
from .witness import read_to_end

__all__ = [
    "NAMES",
    "REPORT",
    "expected",
    "given",
    "keep",
    "of_user",
    "refused",
    "report",
    "reported",
    "spawns_among_forks",
]

#: Those that everybody may have, in the order in which :data:`REPORT` tells of them, a line each.
NAMES = ("umask", "nice", "rlimits", "oom_score_adj", "cpu_affinity", "argv0")
REPORT = """umask; nice; echo $(ulimit -Sn) $(ulimit -Hn); cat /proc/self/oom_score_adj
grep Cpus_allowed_list /proc/self/status; echo $0"""


def _score() -> int:
    return int(Path("/proc/self/oom_score_adj").read_bytes())


def given() -> dict[str, Any]:
    """Attributes that differ from this process's, by name."""
    return {
        "umask": 0o27,
        "nice": 1,
        "rlimits": {resource.RLIMIT_NOFILE: (41, 42)},
        "oom_score_adj": min(_score() + 7, 1000),
        "cpu_affinity": [max(os.sched_getaffinity(0))],
        "argv0": "shell",
    }


def expected() -> list[str]:
    """What the script tells with all of these."""
    what = given()
    nice = min(os.getpriority(os.PRIO_PROCESS, 0) + 1, 19)
    (cpu,) = what["cpu_affinity"]
    return ["0027", str(nice), "41 42", str(what["oom_score_adj"]), f"Cpus_allowed_list:\t{cpu}", "shell"]


async def reported(manager: LocalProcessManager, script: str = REPORT, **options: Any) -> list[str]:
    """The lines that a shell writes as the root of a tree."""
    read, write = os.pipe()
    try:
        child = await manager.spawn_child(SpawnParams("/bin/sh", ("-c", script), stdout=write, **options))
    except BaseException:
        os.close(read)
        raise
    finally:
        os.close(write)
    told = await read_to_end(read)
    assert await manager.wait_for_exit(child.pid, PATIENCE)
    return told.decode().splitlines()


def of_user(uid: int) -> list[int]:
    """The living processes of a user."""
    return [pid for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))) if _user(pid) == uid]  # noqa: PTH208


def _user(pid: int) -> int | None:
    try:
        status = Path(f"/proc/{pid}/status").read_text("ascii")
    except OSError:
        return None
    return None if "\nState:\tZ" in status else int(status.partition("\nUid:\t")[2].split(None, 1)[0])


def _settled(guard: str, uid: int) -> None:
    """This process is one that a user has started, with a guard that the user may run."""
    import_all()
    native.GUARD = guard
    become(uid)


def report(mechanism: Mechanism, guard: str, uid: int) -> list[list[str]]:
    """What a root has of a supervisor that is a user's, and what it should have."""
    _settled(guard, uid)

    async def ask() -> list[str]:
        async with LocalProcessManager(containment=mechanism) as manager:
            return await reported(manager, cwd="/", **given())

    return [asyncio.run(ask()), expected()]


def refused(mechanism: Mechanism, guard: str, uid: int, cases: list[dict[str, Any]]) -> list[dict[str, Any] | None]:
    """The errors of spawns by a user, None for those that worked, all of which leave nothing."""
    _settled(guard, uid)

    async def attempt(manager: LocalProcessManager, options: dict[str, Any]) -> dict[str, Any] | None:
        if "rlimits" in options:  # JSON knows no numbers as keys
            options["rlimits"] = {int(number): tuple(pair) for number, pair in options["rlimits"].items()}
        try:
            child = await manager.spawn_child(SpawnParams("/bin/true", cwd="/", **options))
        except SpawnError as e:
            return {"class": type(e).__name__, "step": e.step, "errno": e.errno, "words": str(e)}
        assert await manager.wait_for_exit(child.pid, PATIENCE)
        return None

    async def attempts() -> list[dict[str, Any] | None]:
        async with LocalProcessManager(containment=mechanism) as manager:
            outcomes = []
            for options in cases:
                outcomes.append(await attempt(manager, options))
                assert not children()
                assert not await manager.list_children()
            return outcomes

    return asyncio.run(attempts())


def keep(mechanism: Mechanism, script: str, uid: int | None) -> None:
    """A supervisor that says the number of its root, a shell of another user, and waits to be killed."""

    async def wait() -> None:
        async with LocalProcessManager(containment=mechanism) as manager:
            tree = await manager.spawn("/bin/sh", "-c", script, cwd="/", user=uid)
            print(tree.pid, flush=True)
            await tree.wait_empty()

    asyncio.run(wait())


def spawns_among_forks(mechanism: Mechanism, spawns: int) -> int:
    """Spawns roots by fork while another thread forks copies of this process, which stay. Returns how many started."""
    copies: list[int] = []
    over = threading.Event()

    def fork() -> None:
        while not over.wait(0.005):
            copies.append(_stay())

    async def spawn() -> int:
        async with LocalProcessManager(containment=mechanism) as manager:
            for done in range(spawns):
                spawning = manager.spawn_child(SpawnParams("/bin/true", user=os.geteuid()))
                try:
                    child = await asyncio.wait_for(spawning, PATIENCE)
                except asyncio.TimeoutError:
                    return done
                assert await manager.wait_for_exit(child.pid, PATIENCE)
        return spawns

    forking = threading.Thread(target=fork)
    forking.start()
    try:
        return asyncio.run(spawn())
    finally:
        over.set()
        forking.join()
        for copy in copies:
            os.kill(copy, signal.SIGKILL)
            os.waitpid(copy, 0)


def _stay() -> int:
    copy = os.fork()
    if copy == 0:
        signal.alarm(int(LIFETIME))
        signal.pause()
    return copy
