"""What is left of a tree whose root has ended, and which of those processes hold its output."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection

from ..handlers import SystemErrors, of_handler
from ..outcome import Left
from .members import Members

__all__ = ["holds", "left_of", "pipe_identity"]

#: How many processes are named.
_NAMED = 1000


def pipe_identity(fd: int) -> str:
    """What ``/proc`` calls a pipe: the same for both of its ends, in every process that holds one."""
    return f"pipe:[{os.fstat(fd).st_ino}]"


def left_of(members: Members, outputs: Collection[str] = ()) -> tuple[Left, ...]:
    """The live members of a tree, and whether they hold one of the pipes ``outputs``, given by their identity.

    Looks at every process there is: milliseconds for hundreds. Call it in a thread, not on an event loop.
    """
    found = []
    for pid in members.pids()[:_NAMED]:
        if sys.platform == "win32":
            found.append(Left(pid, ""))
            continue
        held = members.holds(pid, outputs)
        seen = members.look(pid)
        if seen is not None and seen.alive:
            found.append(Left(pid, seen.name, held))
    return tuple(found)


def holds(pid: int, pipes: Collection[str], *, for_good: bool = False) -> bool | None:
    """Whether a process holds one of the pipes; None if its descriptors cannot be seen.

    ``for_good``: copies that an exec closes do not count. A process that is just being started has such copies of
    everything that its parent has open, whoever that is for.
    """
    place = f"/proc/{pid}/fd"
    try:
        names = os.listdir(place)  # noqa: PTH208 - numbers, not paths
    except OSError as error:
        if of_handler(error):
            raise
        return None
    for name in names:
        with SystemErrors():  # closed in the meantime
            # The link tells enough: a look behind it could wait for the server of a file.
            link = f"{place}/{name}"
            target = os.readlink(link)  # noqa: PTH115 - a name, not a path
            if target in pipes and _is_ours(link, target) and not (for_good and _ends_with_exec(pid, name)):
                return True
    return False


def _is_ours(link: str, target: str) -> bool:
    """Whether a link that names one of ours leads to it. A terminal of another container may have the same path."""
    if target.startswith("pipe:"):
        return True
    return os.path.samestat(os.stat(link), os.stat(target))  # noqa: PTH116 - a link that is no path


def _ends_with_exec(pid: int, name: str) -> bool:
    with open(f"/proc/{pid}/fdinfo/{name}", encoding="ascii") as file:  # noqa: PTH123 - quick
        flags = next(line for line in file if line.startswith("flags:"))
    return bool(int(flags.split()[1], 8) & getattr(os, "O_CLOEXEC", 0))  # Windows has none, and no /proc
