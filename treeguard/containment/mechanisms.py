"""The mechanisms that contain a tree: how each is tried, started with, and cleaned up after.

One is picked for a manager; from then on nobody asks which it is.
"""

from __future__ import annotations

import errno
import functools
import os
import secrets
import threading
from collections.abc import Callable

import msgspec

from .. import _native
from .._native import Fault, Spec
from ..cgroup.cgroups import ManagerCgroup, empty
from ..engine.engine import Engine
from ..errors import SHORTAGES, spawn_error
from ..inside.tree import Inside, inside_group, inside_leaf, under_guard
from ..limits import Limits
from ..waiting import uncancelled
from ..worker import Worker
from .claims import Containment, Mechanism, kept_for, with_controllers
from .contained import Contained
from .salvage import Remains
from .trial import try_tree

__all__ = ["achieved", "contained_by", "try_out"]


class InGroup(Contained):
    """A process group, without a guard.

    The root's parent-death signal is sent when the *thread* ends that forked (prctl(2), PR_SET_PDEATHSIG). The main
    thread ends with the process; on another one, roots are started by a thread that lives as long as this.
    """

    def __init__(self) -> None:
        self._forker = Worker("treeguard-forker")

    async def spawn(self, engine: Engine, spec: Spec, tag: int, limits: Limits | None) -> None:
        spec = _limited(spec, limits)
        if threading.get_native_id() == os.getpid():
            engine.spawn(spec, tag, guard=None)
        else:
            await uncancelled(self._forker.run(lambda: engine.spawn(spec, tag, guard=None)))

    def inside(self, keeper: int, tag: int) -> Inside:
        return inside_group(keeper)

    def close(self) -> None:
        self._forker.close()


class UnderGuard(Contained):
    """A guard that adopts every orphan.

    Should it be killed, descendants can still be told from strangers by a mark in their environment: a variable whose
    name no other tree has, so that marks of trees within trees add up.
    """

    def __init__(self) -> None:
        self._name = f"TREEGUARD_TREE_{secrets.token_hex(8)}_"

    async def spawn(self, engine: Engine, spec: Spec, tag: int, limits: Limits | None) -> None:
        if not spec.env_is_given:
            spec = msgspec.structs.replace(spec, env=spec.env + self._mark(tag) + b"1\0", nenv=spec.nenv + 1)
        engine.spawn(_limited(spec, limits), tag, guard=_native.GUARD)

    def inside(self, keeper: int, tag: int) -> Inside:
        return under_guard(keeper)

    def remains(self, root: int, age: float, tag: int) -> Remains:
        return Remains(root, age, mark=self._mark(tag))

    def _mark(self, tag: int) -> bytes:
        return f"{self._name}{tag}=".encode()


class InCgroup(Contained):
    """A leaf cgroup, and a guard that lives outside of it."""

    def __init__(self, containment: Containment) -> None:
        self._containment = containment
        self._cgroup = ManagerCgroup()

    async def spawn(self, engine: Engine, spec: Spec, tag: int, limits: Limits | None) -> None:
        of_tree = kept_for("tree", limits, self._containment)
        if of_tree is not None:
            self._make_leaf(tag, of_tree)
        spec = _limited(spec, kept_for("process", limits, self._containment))
        try:
            engine.spawn(spec, tag, guard=_native.GUARD, cgroup=self._cgroup.fd, leaf_made=of_tree is not None)
        except Fault:
            self.failed(tag)
            raise

    def _make_leaf(self, tag: int, limits: Limits) -> None:
        try:
            self._cgroup.limited_leaf(tag, limits)
        except OSError as error:
            number = error.errno or errno.EIO
            raise Fault("cgroup", number, self._cgroup.why_not(number)) from error

    def why_failed(self, step: str, error: int) -> str:
        return self._cgroup.why_not(error) if step in ("cgroup", "clone") else ""

    def failed(self, tag: int) -> None:
        self._cgroup.discard(tag)

    def inside(self, keeper: int, tag: int) -> Inside:
        return inside_leaf(self._cgroup.leaf(tag), keeper)

    def remains(self, root: int, age: float, tag: int) -> Remains:
        leaf, own = self._cgroup.leaf(tag), self._cgroup.own
        return Remains(root, age, empty_cgroup=lambda: empty(leaf, own))

    def close(self) -> None:
        self._cgroup.close()


_KINDS: dict[Mechanism, Callable[[Containment], Contained]] = {
    "cgroup": InCgroup,
    "subreaper": lambda _: UnderGuard(),
    "process_group": lambda _: InGroup(),
}


def contained_by(containment: Containment) -> Contained:
    """Makes what a manager starts its trees with. Raises OSError where its cgroup cannot be made."""
    return _KINDS[containment.mechanism](containment)


def _limited(spec: Spec, limits: Limits | None) -> Spec:
    if limits is None or limits.memory is None:
        return spec
    return msgspec.structs.replace(spec, address_space=limits.memory)


def try_out(mechanism: Mechanism) -> str | None:
    """None where a mechanism works on this host, else why it doesn't. Waits for the milliseconds that a trial takes.

    A shortage says nothing of the host, and must not lead to a weaker mechanism: it is raised, as a
    :class:`~treeguard.SpawnError`.
    """
    try:
        if mechanism == "job_object":
            return "job objects are of Windows"
        if mechanism == "cgroup":
            _try_cgroup()
        elif mechanism == "subreaper":
            _try_guard()
    except Fault as fault:
        if fault.errno in SHORTAGES | {errno.EAGAIN}:
            raise spawn_error(fault.step, fault.errno, _native.GUARD) from None
        return str(spawn_error(fault.step, fault.errno, _native.GUARD))
    except OSError as error:
        # EAGAIN is not among them: a limit on the number of cgroups is the host's word.
        if error.errno in SHORTAGES:
            raise spawn_error("engine", error.errno, error.filename) from error
        return str(error)
    return None


# Tried once for the process; a failure is not kept, it may have been one of the moment.
@functools.cache
def _try_guard() -> None:
    try_tree()


@functools.cache
def _try_cgroup() -> tuple[frozenset[str], bool]:
    """The controllers that leaves have, and whether they can be killed in one step."""
    cgroup = ManagerCgroup()
    try:
        try_tree(cgroup.fd)
        return cgroup.controllers(), cgroup.killed_at_once
    finally:
        cgroup.close()


def achieved(containment: Containment) -> Containment:
    """What comes with a mechanism that was tried out successfully on this host."""
    if containment.mechanism != "cgroup":
        return containment
    controllers, at_once = _try_cgroup()
    return with_controllers(msgspec.structs.replace(containment, atomic_kill=at_once), controllers)
