"""The words of treeguard as values: frozen, comparable, and ready to travel as JSON or MessagePack."""

from __future__ import annotations

import enum
from typing import NewType
from uuid import UUID

import msgspec

__all__ = [
    "ChildHandle",
    "ChildKind",
    "ConnectionId",
    "ProcessId",
    "ResourceUsage",
    "RootExit",
    "TreeState",
    "TreeStats",
]

#: Names a tree for as long as its manager lives. Never reused, and not the operating system's process id.
ProcessId = NewType("ProcessId", UUID)

#: Names a control connection.
ConnectionId = NewType("ConnectionId", UUID)


class ChildKind(str, enum.Enum):
    """The well-known kinds of children. Any other non-empty string serves as well."""

    RENDERER = "renderer"
    NETWORK = "network"
    IO = "io"
    STORAGE = "storage"
    FORMATS = "formats"
    RUNTIME = "runtime"
    EXTERNAL = "external"

    def __str__(self) -> str:
        return self.value


class ChildHandle(msgspec.Struct, frozen=True):
    """A child as its manager knows it.

    ``os_pid`` is the root's process id while it lives; it is for reading, not for signalling: the number may be another
    process's by then.
    """

    pid: ProcessId
    kind: str
    parent: ProcessId | None
    connection: ConnectionId | None
    os_pid: int


class ResourceUsage(msgspec.Struct, frozen=True):
    """What a process used, as getrusage(2) tells it: times in seconds, memory in bytes."""

    user_time: float = 0.0
    system_time: float = 0.0
    max_rss: int = 0
    minor_faults: int = 0
    major_faults: int = 0
    voluntary_switches: int = 0
    involuntary_switches: int = 0


class RootExit(msgspec.Struct, frozen=True):
    """How a root ended: with an exit code, or by a signal.

    Both are None when it is not known: the host application reaped the process itself (``waitpid(-1)``), or ignores
    SIGCHLD; its guard died; or it ended too long ago to be remembered.

    ``oom_killed`` tells that the tree needed more memory than its limit and was killed for that; it is known where a
    cgroup keeps the limit.
    """

    code: int | None = None
    signal: int | None = None
    usage: ResourceUsage = ResourceUsage()
    oom_killed: bool = False


class TreeStats(msgspec.Struct, frozen=True):
    """What a tree used so far - times in seconds - and uses now: memory in bytes, ``processes`` by number.

    In a cgroup times are exact, and so is memory where the host lets its controller count. Else they are summed up from
    ``/proc``: ``peak_memory`` is then the sum of the peaks of those that live, which were not all reached at the same
    time, and shared pages count for each. After the tree's end it is the largest process's peak.
    """

    user_time: float = 0.0
    system_time: float = 0.0
    memory: int = 0
    peak_memory: int = 0
    processes: int = 0


class TreeState(msgspec.Struct, frozen=True):
    """What is known of a tree at a moment.

    ``stopped`` is the signal that stopped the root, None while it runs; ``exit`` tells how it ended; ``empty`` that
    nothing is left. ``stops`` counts them: a root may go on and stop again before anybody looks. With the mechanism
    ``process_group`` stops are not seen.
    """

    os_pid: int
    stopped: int | None = None
    exit: RootExit | None = None
    empty: bool = False
    stops: int = 0
