"""The guards of this system, found in ``/proc``: what each shows of itself, and whether it can be believed (Linux).

A guard makes itself undumpable, so other processes cannot look into it. Its command line, its status and its place
among the processes can be read by everybody.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from .._core.processes.proc_details import read_start
from .._core.processes.procfs import read_file
from .._core.processes.system import ProcessInfo, get_process, iter_pids

__all__ = ["NAME", "Guard", "find_guards", "number_within", "parse_title", "root_of"]

#: The name of every guard, as a process and as a program.
NAME = "treeguard-guard"
_TITLE = f"{NAME} ".encode()
_OWNER = b"owner="
#: What a guard shows of itself is shorter. Behind it are zeros, as many as the root's arguments had characters.
_LONGEST_TITLE = 1024
#: SIGKILL and SIGSTOP cannot be blocked, and the C library's own two are not among those that others look at.
_BLOCKABLE = (1 << 31) - 1 & ~(1 << 8 | 1 << 18)
_STATES = ("starting", "supervised", "released", "ending")


class Guard(NamedTuple):
    """A guard, and what it shows of its tree.

    ``owner`` is its supervisor, 0 if that has released the tree. ``tree`` and ``parent`` are numbers of trees of one
    ``manager`` of that supervisor; 0: the tree has no parent. ``root`` is in the guard's own pid namespace.
    """

    process: ProcessInfo
    user: int
    owner: int
    state: str
    root: int
    tree: int
    mechanism: str
    isolated: bool
    manager: str
    parent: int
    kind: str

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid


def find_guards() -> list[Guard]:
    """All guards that can be seen, the oldest first. Raises OSError if ``/proc`` does not show this system."""
    found = [guard for pid in iter_pids() if (guard := _guard_of(pid)) is not None]
    return sorted(found, key=lambda guard: (guard.process.started, guard.pid))


def _guard_of(pid: int) -> Guard | None:
    seen = get_process(pid)
    if seen is None or not seen.alive or seen.name != NAME:
        return None
    with contextlib.suppress(OSError, ValueError, KeyError):
        cmdline = read_start(pid, "cmdline", _LONGEST_TITLE)
        facts = parse_title(cmdline)
        user = _user_of_guard(pid)
        still = get_process(pid)
        if facts is not None and user is not None and still is not None and still.started == seen.started:
            owner = 0 if facts["state"] == "released" else _taker_in(cmdline) or still.parent
            return Guard(still, user, owner, **facts)
    return None


def parse_title(cmdline: bytes) -> dict[str, Any] | None:
    """What a guard shows of itself; None if it shows nothing, as one of a trial does.

    Its form is in ``csrc/wire.h``. Raises ValueError or KeyError if it is none.
    """
    shown, _, _ = cmdline.partition(b"\0")
    if not shown.startswith(_TITLE):
        return None
    before, marked, kind = shown.removeprefix(_TITLE).decode("utf-8", "replace").partition("kind=")
    state, *words = before.split()
    if not marked or state not in _STATES:
        return None
    facts = dict(word.split("=", 1) for word in words)
    numbers = {name: int(facts[name]) for name in ("root", "tree", "parent")}
    return {
        "state": state,
        "kind": kind,
        "mechanism": facts["mechanism"],
        "manager": facts["manager"],
        "isolated": facts["isolated"] != "0",
        **numbers,
    }


def _taker_in(cmdline: bytes) -> int:
    """The supervisor that has taken the tree over, and so is not the guard's parent; 0 if nobody has."""
    _, _, rest = cmdline.partition(b"\0")
    return int(rest.partition(b"\0")[0].removeprefix(_OWNER)) if rest.startswith(_OWNER) else 0


def _user_of_guard(pid: int) -> int | None:
    """The user of a process that looks like a guard; None if it is none.

    A guard has one thread, has all signals blocked, and is undumpable: its files in ``/proc`` belong to root (proc(5)),
    and only root can see its program. Any process can make itself look so. It is then taken for the guard of what
    descends from it, and for one of its own user.
    """
    status = dict(line.split(b":", 1) for line in read_file(pid, "status").splitlines() if b":" in line)
    blocked, threads, user = int(status[b"SigBlk"], 16), int(status[b"Threads"]), int(status[b"Uid"].split()[0])
    dumpable = os.stat(f"/proc/{pid}/environ").st_uid == user != 0  # noqa: PTH116 - one call
    if threads != 1 or blocked & _BLOCKABLE != _BLOCKABLE or dumpable:
        return None
    try:
        program = os.readlink(f"/proc/{pid}/exe")  # noqa: PTH115 - it may have been replaced
    except PermissionError:
        return user
    return user if Path(program.removesuffix(" (deleted)")).name == NAME else None


def root_of(guard: Guard, children: Iterator[ProcessInfo]) -> ProcessInfo | None:
    """The root of a guard's tree, among the guard's living children; None if it has ended.

    A guard in another pid namespace shows the root's number there.
    """
    for seen in children:
        if seen.pid == guard.root or number_within(seen.pid) == guard.root:
            return seen
    return None


def number_within(pid: int) -> int:
    """The number of a process in its own pid namespace."""
    with contextlib.suppress(OSError):
        _, _, rest = read_file(pid, "status").partition(b"\nNSpid:")
        return int(rest.splitlines()[0].split()[-1]) if rest else pid
    return pid
