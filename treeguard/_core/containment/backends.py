"""The mechanisms that contain a tree: how each is tried, used and cleaned up after.

A manager uses one of them. After the choice, no other code checks which one it is.
"""

from __future__ import annotations

import errno
import functools
import secrets
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from ...errors import SHORTAGES, spawn_error
from ...limits import Limits
from ...types import Mechanism
from .. import native
from ..cgroup.cgroups import ManagerCgroup
from ..engine.engine import Engine
from ..native import CoreError
from ..spec import Additions, Placement
from ..waiting import run_to_completion
from .backend import Backend
from .guarantees import Containment, with_controllers
from .probe import probe_tree

if TYPE_CHECKING:
    from ..inspection.tree import Inspection
    from ..worker import Worker
    from .guard_loss import LostTree, OrphanedTree
    from .proc_scanner import SearchTarget

__all__ = ["achieved", "backend_for", "try_out"]


def _new_mark() -> bytes:
    """The beginning of the names of the variables that tell a manager's trees from strangers when a guard was killed.

    The tree's tag follows, so that the marks of nested trees add up.
    """
    return b"TREEGUARD_TREE_%b_" % secrets.token_hex(8).encode()


class ProcessGroupBackend(Backend):
    """A process group, without a guard.

    The kernel sends the root's parent-death signal when the *thread* that forked it ends (prctl(2), PR_SET_PDEATHSIG).
    The main thread ends with the process. A manager on another thread starts its roots from a thread that lives as long
    as this object (:meth:`elsewhere`).
    """

    outlived = True

    def __init__(self) -> None:
        self._forker: Worker | None = None

    def limit(self, limits: Limits, additions: Additions) -> None:
        _limit_processes(limits, additions)

    async def elsewhere(self, start: Callable[[], None]) -> None:
        if self._forker is None:
            from ..worker import Worker

            self._forker = Worker("treeguard-forker")
        if not self._forker.begin():
            # The same error as for a process: threads count towards the same limit.
            raise CoreError("clone", errno.EAGAIN)
        await run_to_completion(self._forker.run(start))

    def inspection(self, leader_pid: int, tag: int, engine: Engine) -> Inspection:
        from ..inspection.tree import inspect_group

        return inspect_group(leader_pid)

    def close(self) -> None:
        if self._forker is not None:
            self._forker.close()


class SubreaperBackend(Backend):
    """A guard that adopts every orphan. A guard that walks the tree adopts none (macOS)."""

    def __init__(self, *, adopts: bool = True) -> None:
        self._adopts = adopts
        self.placement = Placement(guarded=True, mark=_new_mark(), mechanism="subreaper")

    def limit(self, limits: Limits, additions: Additions) -> None:
        _limit_processes(limits, additions)

    def inspection(self, leader_pid: int, tag: int, engine: Engine) -> Inspection:
        from ..inspection.tree import inspect_under_guard

        return inspect_under_guard(leader_pid)

    def bypass(self, leader_pid: int, tag: int) -> SearchTarget | None:
        from .bypass import Bypass

        return Bypass(leader_pid) if self._adopts else None

    def orphaned(self, traces: LostTree) -> OrphanedTree:
        from .guard_loss import OrphanedTree

        return OrphanedTree(traces, mark=self.placement.mark_of(traces.tag))


class CgroupBackend(Backend):
    """A leaf cgroup, and a guard that lives outside it."""

    def __init__(self, containment: Containment) -> None:
        self._containment = containment
        self._mark = _new_mark()
        try:
            self._cgroup = ManagerCgroup()
            self._place()
        except BaseException:
            made: ManagerCgroup | None = getattr(self, "_cgroup", None)
            if made is not None:
                made.close()
            raise

    def _place(self) -> None:
        self.placement = Placement(guarded=True, cgroup=self._cgroup.fd, mark=self._mark, mechanism="cgroup")

    def limit(self, limits: Limits, additions: Additions) -> None:
        from .limit_scopes import kept_for

        of_tree = kept_for("tree", limits, self._containment)
        of_processes = kept_for("process", limits, self._containment)
        if of_tree is not None:
            self._make_leaf(additions.tag, of_tree)
            additions.leaf_made = True
        if of_processes is not None:
            _limit_processes(of_processes, additions)

    def _make_leaf(self, tag: int, limits: Limits) -> None:
        from ..cgroup.limited_leaf import make_limited_leaf

        try:
            make_limited_leaf(self._cgroup, tag, limits)
        except OSError as error:
            number = error.errno or errno.EIO
            raise CoreError("cgroup", number, self._cgroup.why_not(number)) from error

    def why_failed(self, step: str, error: int) -> str:
        if step not in ("cgroup", "clone"):
            return super().why_failed(step, error)
        # The cgroup may be another one after that.
        words = self._cgroup.why_not(error)
        self._place()
        return words

    def failed(self, tag: int) -> None:
        self._cgroup.discard(tag)

    def inspection(self, leader_pid: int, tag: int, engine: Engine) -> Inspection:
        from ..inspection.tree import inspect_leaf

        return inspect_leaf(self._cgroup.leaf(tag), leader_pid)

    def bypass(self, leader_pid: int, tag: int) -> SearchTarget:
        from ..cgroup.emptying import empty
        from .bypass import Bypass

        return Bypass(leader_pid, partial(empty, self._cgroup.leaf(tag), self._cgroup.own))

    def orphaned(self, traces: LostTree) -> OrphanedTree:
        from ..cgroup.emptying import empty
        from .guard_loss import OrphanedTree

        leaf = self._cgroup.leaf(traces.tag)
        empty_leaf = partial(empty, leaf, self._cgroup.own)
        return OrphanedTree(traces, mark=self.placement.mark_of(traces.tag), empty_cgroup=empty_leaf)

    def close(self) -> None:
        self._cgroup.close()


_KINDS: dict[Mechanism, Callable[[Containment], Backend]] = {
    "cgroup": CgroupBackend,
    "subreaper": lambda _: SubreaperBackend(),
    "process_group": lambda _: ProcessGroupBackend(),
}


def backend_for(containment: Containment) -> Backend:
    """The backend that a manager starts its trees with. Raises OSError if its cgroup cannot be made."""
    if containment.mechanism == "pid_namespace":
        from .pid_namespace import backend_inside

        return backend_inside(containment)
    return _KINDS[containment.mechanism](containment)


def _limit_processes(limits: Limits, additions: Additions) -> None:
    additions.address_space = limits.memory or 0


def try_out(mechanism: Mechanism) -> str | None:
    """None if a mechanism works on this host, otherwise the reason why not. Blocks for the milliseconds of a trial.

    A shortage or a broken installation says nothing about the host and must not lead to a weaker mechanism. It is
    raised as a :class:`~treeguard.SpawnError`.
    """
    try:
        if mechanism == "job_object":
            return "job objects are of Windows"
        if mechanism == "pid_namespace":
            from .pid_namespace import try_pid_namespace

            return try_pid_namespace()
        if mechanism == "cgroup":
            _try_cgroup()
        elif mechanism == "subreaper":
            _try_guard()
    except CoreError as fault:
        # The guard is part of this package: if it cannot be executed, the installation is broken, and not the host.
        if fault.step == "guard" or fault.errno in SHORTAGES | {errno.EAGAIN}:
            raise spawn_error(fault.step, fault.errno, native.GUARD) from None
        return str(spawn_error(fault.step, fault.errno, native.GUARD))
    except OSError as error:
        # EAGAIN is not included: a limit on the number of cgroups is a property of the host.
        if error.errno in SHORTAGES:
            raise spawn_error("engine", error.errno, error.filename) from error
        return str(error)
    return None


# Tried once per process. A failure is not cached, since it may be temporary.
@functools.cache
def _try_guard() -> None:
    probe_tree()


@functools.cache
def _try_cgroup() -> tuple[frozenset[str], bool]:
    """The controllers that leaves have, and whether a leaf can be killed in one step."""
    cgroup = ManagerCgroup()
    try:
        probe_tree(cgroup.fd)
        # The guard also kills processes outside the leaf. A process that dies when only the leaf is killed was in it.
        probe_tree(cgroup.fd, 1, kill=lambda _: cgroup.kill_leaf(1))
        return cgroup.controllers(), cgroup.killed_at_once
    finally:
        cgroup.close()


def achieved(containment: Containment) -> Containment:
    """The full guarantees of a mechanism that was tried successfully on this host."""
    if containment.mechanism == "pid_namespace":
        from .pid_namespace import achieved_inside

        return achieved_inside(containment)
    if containment.mechanism != "cgroup":
        return containment
    controllers, at_once = _try_cgroup()
    return with_controllers(msgspec.structs.replace(containment, atomic_kill=at_once), controllers)
