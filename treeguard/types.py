"""The value types of treeguard: frozen, comparable, and ready to be sent as JSON or MessagePack."""

from __future__ import annotations

import enum
from typing import Literal, NewType
from uuid import UUID

import msgspec

__all__ = [
    "ChildHandle",
    "ChildKind",
    "ConnectionId",
    "ContainmentName",
    "GuaranteeName",
    "LimitScope",
    "Mechanism",
    "ProcessId",
    "ResourceUsage",
    "RootExit",
    "SignalTarget",
    "TreeState",
    "TreeStats",
]

#: Identifies a tree for the lifetime of its manager. It is never reused, and is not the operating system's process id.
ProcessId = NewType("ProcessId", UUID)

#: Identifies a control connection.
ConnectionId = NewType("ConnectionId", UUID)

#: What keeps a tree together.
Mechanism = Literal["pid_namespace", "cgroup", "subreaper", "process_group", "job_object"]

#: What a manager can be asked for: a mechanism, or the strongest one that works here.
ContainmentName = Mechanism | Literal["auto"]

#: Whom a signal goes to: the root's process group, the root, or every process of the tree.
SignalTarget = Literal["group", "root", "all"]

#: A boolean of :class:`~treeguard.Containment`.
GuaranteeName = Literal[
    "contains_escapees", "proves_empty", "reaps_orphans", "atomic_kill", "outlives_supervisor", "outlives_guard"
]

#: What a limit applies to: the tree as a whole, or each of its processes.
LimitScope = Literal["tree", "process"]


class ChildKind(str, enum.Enum):
    """The well-known kinds of children. Any other non-empty string is valid too."""

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
    """A child, as its manager knows it.

    ``os_pid`` is the root's process id while the root lives. Use it for display only, not to send signals: the number
    may belong to another process by then.
    """

    pid: ProcessId
    kind: str
    parent: ProcessId | None
    connection: ConnectionId | None
    os_pid: int


class ResourceUsage(msgspec.Struct, frozen=True):
    """The resources that a process used, as getrusage(2) reports them: times in seconds, memory in bytes."""

    user_time: float = 0.0
    system_time: float = 0.0
    max_rss: int = 0
    minor_faults: int = 0
    major_faults: int = 0
    voluntary_switches: int = 0
    involuntary_switches: int = 0


class RootExit(msgspec.Struct, frozen=True):
    """How a root ended: with an exit code, or by a signal.

    Both are None if the result is unknown: the host application reaped the process itself (``waitpid(-1)``) or ignores
    SIGCHLD, the guard died, or the root ended too long ago to be remembered.

    ``oom_killed`` is true if the tree needed more memory than its limit and was killed for that, which only a cgroup
    that enforces the limit tells. ``core_dumped`` is true if the signal made the root dump core.
    """

    code: int | None = None
    signal: int | None = None
    usage: ResourceUsage = ResourceUsage()
    oom_killed: bool = False
    core_dumped: bool = False


class TreeStats(msgspec.Struct, frozen=True):
    """The CPU times of a tree so far, in seconds, its memory in bytes, and the number of its ``processes``.

    In a cgroup the times are exact, and so is the memory where the host makes the memory controller available.
    Elsewhere the values are summed up from ``/proc``: ``peak_memory`` is then the sum of the peaks of all living
    processes, which need not have occurred at the same time, and shared pages count once for each process. After the
    tree's end it is the peak of the largest process. Without a guard, that is at least the supervisor's own peak: Linux
    counts the memory that a process borrows between its creation and its exec.
    """

    user_time: float = 0.0
    system_time: float = 0.0
    memory: int = 0
    peak_memory: int = 0
    processes: int = 0


class TreeState(msgspec.Struct, frozen=True):
    """The state of a tree at one moment.

    ``stopped`` is the signal that stopped the root, or None while the root runs. ``exit`` describes how the root ended.
    ``empty`` is true once no process is left. ``stops`` counts how often the root has stopped, since it may continue
    and stop again between two looks. With the mechanism ``process_group``, stops are seen only if the root shares the
    supervisor's terminal, twenty times a second.
    """

    os_pid: int
    stopped: int | None = None
    exit: RootExit | None = None
    empty: bool = False
    stops: int = 0
