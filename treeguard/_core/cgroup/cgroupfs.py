"""The files of cgroups (cgroups(7)), and the names of those that treeguard makes."""

from __future__ import annotations

import os
from pathlib import Path

from ..native import Descriptor

__all__ = ["KILL", "PLACE", "owner_of_place", "write"]

#: Kills every process in a cgroup at once (Linux 5.14).
KILL = "cgroup.kill"
#: The prefix of the cgroups that supervisors step aside to.
PLACE = "treeguard-supervisor."


def owner_of_place(name: str) -> int | None:
    """The process id of the supervisor that steps aside to a cgroup of that name; None for any other name."""
    number = name.removeprefix(PLACE) if name.startswith(PLACE) else ""
    # No process id has more digits (proc(5), pid_max). Any process may give such a name to a cgroup.
    valid = number.isascii() and number.isdecimal() and len(number) <= 7 and number[0] != "0"
    return int(number) if valid else None


def write(path: Path, text: str) -> None:
    """Writes to a file that the kernel has made. Raises FileNotFoundError if the kernel has not made it.

    ``open(path, "w")`` does not serve here: it asks for the file to be created, and a cgroup answers with EACCES.
    """
    file = Descriptor()
    try:
        file.open(path, os.O_WRONLY)
        os.write(file.number, text.encode("ascii"))
    finally:
        file.close()
