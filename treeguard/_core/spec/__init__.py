"""From the parameters of a child, and what is added to them, to what the C core takes."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from ...params import Isolation, Stream
from ...types import Mechanism

__all__ = ["ISOLATED_BY", "NOTHING_ADDED", "NO_GUARD", "Accounts", "Additions", "Placement"]


class Placement(msgspec.Struct, frozen=True, gc=False):
    """Where a mechanism puts its trees: below a guard or not, in which directory's cgroup, under which mark."""

    guarded: bool = False
    cgroup: int = -1
    #: What the name of a variable begins with that tells a tree's processes from strangers; the tree's tag follows.
    mark: bytes = b""
    mechanism: Mechanism = "process_group"
    isolated: int = 0

    def mark_of(self, tag: int) -> bytes:
        """The beginning of a tree's mark, up to its value."""
        return b"%b%d=" % (self.mark, tag)


#: A tree without a guard.
NO_GUARD = Placement()


class Accounts(NamedTuple):
    """The numbers of a root's user and groups; None: as its supervisor's."""

    user: int | None
    group: int | None
    groups: tuple[int, ...] | None


class Additions(msgspec.Struct, gc=False):
    """What is added to the parameters of one child. Filled in before they are compiled, which is done once."""

    tag: int = 0
    parent: int = 0
    placement: Placement = NO_GUARD
    isolated: int = 0
    #: Looked up before. None: not yet.
    accounts: Accounts | None = None

    #: Limits that the core sets: on each process, and on a job.
    address_space: int = 0
    job_memory: int = 0
    job_processes: int = 0
    job_cpu: int = 0
    #: Whether the cgroup has a leaf for the tree already, with limits.
    leaf_made: bool = False

    #: From hooks. Variables in ``without_env`` are not inherited.
    env: dict[str, str] = {}
    without_env: frozenset[str] = frozenset()
    pass_fds: tuple[int, ...] = ()
    stdin: Stream | None = None
    #: With a pty: its number in the root, which closes it before the exec if it is none of the standard streams.
    terminal: int = -1


#: Parameters as they are.
NOTHING_ADDED = Additions()
ISOLATED_BY: dict[Isolation, int] = {"none": 0, "signals": 1, "pid_namespace": 2}  # enum tg_isolation
