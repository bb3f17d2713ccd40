"""The guarded trees of this system at one moment, with what belongs to them: what ``treeguard ps`` shows (Linux)."""

from __future__ import annotations

import contextlib
import pwd
import re
import time
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import msgspec

from .._core.cgroup.below import living_in
from .._core.cgroup.cgroupfs import owner_of_place
from .._core.inspection.members import Members
from .._core.inspection.usage import CgroupAccounts, ProcAccounts
from .._core.processes.mounts import cgroup_mounts
from .._core.processes.proc_details import read_start
from .._core.processes.system import ProcessInfo, get_process, now, snapshot, tick
from .guards import Guard, find_guards, number_within, root_of

__all__ = ["Forest", "GuardedTree", "Member", "Owner", "identity_of", "look"]

#: How much of a command line is shown, in bytes.
_LONGEST_COMMAND = 4096
#: The path of a process in a tree's leaf: the supervisor's own cgroup; that of the manager, named by pid namespace,
#: owner and its start; and the tree's number.
_LEAF = re.compile(r"(.*)/(treeguard\.[0-9]+\.([0-9]+)\.[0-9]+\.[0-9a-f]+)/([0-9]+)(/.*)?")


class Owner(msgspec.Struct, frozen=True):
    """The supervisor of a tree: its process id, and its command line or, if it has none, its name in brackets."""

    pid: int
    command: str


class Member(msgspec.Struct, frozen=True):
    """A process of a tree. ``parent`` is the guard's process id if it is the root, or an orphan."""

    pid: int
    name: str
    parent: int


class GuardedTree(msgspec.Struct, frozen=True):
    """A tree with a guard.

    ``id`` is what ``treeguard kill`` takes. ``parent`` is the id of the tree that this one belongs to: the one that its
    spawn named as its parent, or the one that its supervisor is a member of. ``since`` is a time in seconds since 1970,
    ``age`` in seconds, ``memory`` in bytes, ``cpu`` in seconds of CPU time. Members of trees within count there; in a
    cgroup their memory and CPU time count here too.
    """

    id: str
    guard: int
    user: str
    uid: int
    state: str
    kind: str
    mechanism: str
    isolated: bool
    parent: str | None
    owner: Owner | None
    root: int | None
    since: float
    age: float
    members: tuple[Member, ...]
    memory: int
    cpu: float


class Forest(msgspec.Struct, frozen=True):
    """All trees that were asked for, parents before their children. ``time`` is in seconds since 1970."""

    time: float
    trees: tuple[GuardedTree, ...]


def identity_of(guard: Guard) -> str:
    """A tree's id: its guard's process id and start. Another guard never has the same until the next boot."""
    return f"{guard.pid}.{guard.process.started}"


def look(users: Collection[int] | None = None) -> Forest:
    """The trees of these users; None: of all users. Raises OSError if ``/proc`` does not show this system."""
    guards = find_guards()
    moment = _Moment(guards)
    wanted = [guard for guard in guards if users is None or guard.user in users]
    return Forest(moment.time, tuple(map(moment.tree, _parents_first(wanted, moment))))


def _parents_first(guards: Collection[Guard], moment: _Moment) -> Iterator[Guard]:
    below: dict[int, list[Guard]] = {}
    pids = {guard.pid for guard in guards}
    for guard in guards:
        above = moment.parent_of(guard)
        below.setdefault(above.pid if above is not None and above.pid in pids else 0, []).append(guard)
    ahead = below.pop(0, [])[::-1]
    while ahead:
        guard = ahead.pop()
        yield guard
        ahead += below.pop(guard.pid, [])[::-1]
    # Parents that name each other in a circle are forged.
    for rest in below.values():
        yield from rest


class _These(Members):
    """Members that were found before."""

    def __init__(self, found: tuple[int, ...]) -> None:
        self._found = found

    def pids(self) -> tuple[int, ...]:
        return self._found

    def has(self, pid: int) -> bool:
        return pid in self._found


class _Moment:
    """All processes at one moment, seen from their guards."""

    def __init__(self, guards: Iterable[Guard]) -> None:
        self.time = time.time()
        self._boot = self.time - now()
        self._guards = {guard.pid: guard for guard in guards}
        self._tagged = {(guard.owner, guard.manager, guard.tree): guard for guard in self._guards.values()}
        living = [seen for seen in snapshot() if seen is not None and seen.alive]
        self._parents = {seen.pid: seen.parent for seen in living}
        self._children: dict[int, list[ProcessInfo]] = {}
        for seen in living:
            self._children.setdefault(seen.parent, []).append(seen)

    def parent_of(self, guard: Guard) -> Guard | None:
        """The guard of the tree that this one's tree belongs to."""
        named = self._tagged.get((guard.owner, guard.manager, guard.parent)) if guard.parent else None
        if named is not None:
            return named
        pid, passed = self._parents.get(guard.pid, 0), {guard.pid}
        while pid and pid not in passed and pid not in self._guards:
            passed.add(pid)
            pid = self._parents.get(pid, 0)
        above = self._guards.get(pid)
        return None if above is guard else above

    def tree(self, guard: Guard) -> GuardedTree:
        """The tree of a guard."""
        pids = tuple(pid for pid in self._below(guard, within=False) if not self._is_init(pid, guard))
        root = root_of(guard, iter(self._children.get(guard.pid, ())))
        leaf = leaf_of(guard, pids)
        if leaf is not None:
            # Others were moved into it. Those that have no number here are left out.
            pids += tuple(sorted(living_in(leaf).difference((0, guard.pid), self._below(guard, within=True))))
        members = _These(pids)
        accounts = ProcAccounts(members, guard.pid) if leaf is None else CgroupAccounts(leaf, members, guard.pid)
        stats = accounts.read()
        above = self.parent_of(guard)
        since = self._boot + guard.process.started * tick()
        return GuardedTree(
            id=identity_of(guard),
            guard=guard.pid,
            user=_name_of(guard.user),
            uid=guard.user,
            state=guard.state,
            kind=guard.kind,
            mechanism=guard.mechanism,
            isolated=guard.isolated,
            parent=None if above is None else identity_of(above),
            owner=Owner(guard.owner, command_of(guard.owner)) if guard.owner else None,
            root=None if root is None else root.pid,
            since=since,
            age=max(0.0, self.time - since),
            members=tuple(Member(seen.pid, seen.name, seen.parent) for seen in filter(None, map(get_process, pids))),
            memory=stats.memory,
            cpu=stats.user_time + stats.system_time,
        )

    def _is_init(self, pid: int, guard: Guard) -> bool:
        """Whether a process is no member, but the init of the tree's pid namespace, which belongs to the guard."""
        inside = guard.mechanism == "pid_namespace" and self._parents.get(pid) == guard.pid
        return inside and number_within(pid) == 1

    def _below(self, guard: Guard, *, within: bool) -> list[int]:
        """What descends from a guard, parents first; with other guards and what is below them, or without."""
        found: list[int] = []
        ahead = [guard.pid]
        for pid in ahead:
            new = [seen.pid for seen in self._children.get(pid, ()) if within or seen.pid not in self._guards]
            found += new
            ahead += new
        return found


def leaf_of(guard: Guard, members: Iterable[int]) -> Path | None:
    """The cgroup of a tree, by the place of one of its members; None if it has none, or none that this can tell.

    Its name holds the tree's number, and its manager's that of the supervisor that made it. It is below the guard's own
    cgroup, and the guard's user or root has made it. Otherwise a process could make another tree's cgroup its own, or
    the cgroup of the tree around it.
    """
    with contextlib.suppress(OSError):
        own = _own_cgroup_of(guard)
        for pid in members if guard.mechanism != "subreaper" else ():
            match = _LEAF.fullmatch(_place_of(pid))
            if match is None or (match[1], int(match[4])) != (own, guard.tree):
                continue
            # After a release the owner is another, or nobody.
            if guard.owner == guard.process.parent != int(match[3]):
                continue
            for mount in cgroup_mounts():
                leaf = mount.directory(f"{match[1]}/{match[2]}/{match[4]}")
                if leaf is not None and leaf.stat().st_uid in (guard.user, 0):
                    return leaf
    return None


def _own_cgroup_of(guard: Guard) -> str:
    """The cgroup of a guard, where the supervisor was before it stepped aside."""
    place = _place_of(guard.pid).rstrip("/")
    above, _, name = place.rpartition("/")
    return place if owner_of_place(name) is None else above


def _place_of(pid: int) -> str:
    lines = read_start(pid, "cgroup", 1 << 16).decode("utf-8", "surrogateescape").splitlines()
    return next((line.removeprefix("0::") for line in lines if line.startswith("0::")), "")


def command_of(pid: int) -> str:
    """A process's command line, with spaces between its arguments."""
    text = b""
    with contextlib.suppress(OSError):
        text = read_start(pid, "cmdline", _LONGEST_COMMAND).rstrip(b"\0")
    if text:
        return text.replace(b"\0", b" ").decode("utf-8", "replace")
    seen = get_process(pid)
    return f"[{seen.name}]" if seen is not None else "?"


def _name_of(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)
