"""The machines: which kernel, and which cgroup layout."""

from __future__ import annotations

from typing import Literal, NamedTuple

__all__ = ["MACHINES", "Machine"]


class Machine(NamedTuple):
    """A kernel of a Debian release, with its cgroups in one of systemd's layouts."""

    name: str
    kernel: str
    release: str
    layout: Literal["unified", "hybrid"] = "unified"
    #: Whether it is new enough to kill a cgroup in one step (Linux 5.14).
    cgroup_kill: bool = True


#: Hybrid with the oldest, since that layout is of its time.
MACHINES = {
    machine.name: machine
    for machine in (
        Machine("5.10", "5.10", "bullseye", cgroup_kill=False),
        Machine("5.10-hybrid", "5.10", "bullseye", "hybrid", cgroup_kill=False),
        Machine("6.1", "6.1", "bookworm"),
        Machine("6.12", "6.12", "trixie"),
    )
}
