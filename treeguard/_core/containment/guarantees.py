"""The mechanisms that keep a tree together on this host, and the guarantees that come with them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple, get_args

import msgspec
from msgspec.structs import replace

from ...errors import ContainmentUnavailable
from ...params import Isolation
from ...types import ContainmentName, GuaranteeName, LimitScope, Mechanism
from ..validation import wrong_value

__all__ = ["GUARANTEES", "MECHANISMS", "Choice", "Containment", "choose", "has_guard", "with_controllers"]

#: Strongest first. ``"auto"`` tries them in this order, but for the first one, which changes how programs run.
MECHANISMS: tuple[Mechanism, ...] = get_args(Mechanism)


class Containment(msgspec.Struct, frozen=True):
    """A mechanism, with one boolean for each guarantee.

    * ``contains_escapees``: descendants end even if they started their own session or lost their parent.
    * ``proves_empty``: *empty* is known exactly, not guessed from the root or its group.
    * ``reaps_orphans``: no descendant is left as a zombie, with or without an init.
    * ``atomic_kill``: the kernel kills the whole tree in one step. Before Linux 5.14 a cgroup takes several: it is
      frozen, and then its processes are killed one by one.
    * ``outlives_supervisor``: the whole tree ends, not only the root, when the supervisor gets SIGKILL.
    * ``outlives_guard``: the tree ends when the guard itself gets SIGKILL. This covers every process in its cgroup or
      job, not only the root and its group.

    ``advisory`` names guarantees that are only attempted here. On macOS no process can adopt orphans, so processes
    beyond the root's group end only if a walk of the process table finds them.

    ``isolation`` is what trees are kept from doing unless their own parameters say otherwise: see :class:`SpawnParams`.
    ``privileged``: trees in a PID namespace run as root unless they are given another user. They have no capabilities,
    but a hostile one may get out by files that root may write.

    ``memory_limit``, ``process_limit`` and ``cpu_limit`` say what each limit of :class:`Limits` applies to. None means
    that the limit cannot be kept, and asking for it is refused.
    """

    mechanism: Mechanism
    contains_escapees: bool
    proves_empty: bool
    reaps_orphans: bool
    atomic_kill: bool
    outlives_supervisor: bool
    outlives_guard: bool
    advisory: tuple[str, ...] = ()
    memory_limit: LimitScope | None = None
    process_limit: LimitScope | None = None
    cpu_limit: LimitScope | None = None
    isolation: Isolation = "none"
    privileged: bool | None = None


#: The booleans of :class:`Containment`, which a caller can require.
GUARANTEES: tuple[GuaranteeName, ...] = get_args(GuaranteeName)


class Choice(NamedTuple):
    """The chosen containment, and why each mechanism that comes before it was passed over."""

    containment: Containment
    passed_over: tuple[str, ...] = ()


#: The controllers of cgroup version 2 that keep limits.
_LIMITED_BY = {"memory": "memory_limit", "pids": "process_limit", "cpu": "cpu_limit"}


_ALL = Containment("cgroup", *(True,) * 6, memory_limit="process")
_GUARANTEES: dict[Mechanism, Containment] = {
    "cgroup": _ALL,
    "pid_namespace": replace(_ALL, mechanism="pid_namespace"),
    "subreaper": replace(_ALL, mechanism="subreaper", atomic_kill=False, outlives_guard=False),
    "process_group": Containment("process_group", *(False,) * 3, *(True, False, True), memory_limit="process"),
    "job_object": replace(_ALL, mechanism="job_object", memory_limit=None),
}


def choose(asked: ContainmentName, try_out: Callable[[Mechanism], str | None]) -> Choice:
    """The containment for what was asked, found by trying.

    ``try_out`` returns None if a mechanism works, otherwise the reason why not. Raises :class:`ContainmentUnavailable`
    with that reason if the mechanism was asked for by name; ``"auto"`` takes the first one that works. Any exception
    from ``try_out`` says nothing about the host, so it is passed on, and nothing weaker is tried.
    """
    if asked != "auto":
        mechanism = _checked(asked)
        reason = try_out(mechanism)
        if reason is not None:
            raise ContainmentUnavailable(f"containment {asked!r} is not available here: {reason}")
        return Choice(_GUARANTEES[mechanism])
    reasons: list[str] = []
    for mechanism in MECHANISMS[1:]:
        reason = try_out(mechanism)
        if reason is None:
            return Choice(_GUARANTEES[mechanism], tuple(reasons))
        reasons.append(f"{mechanism}: {reason}")
    raise ContainmentUnavailable("no containment is available here: " + "; ".join(reasons))


def with_controllers(containment: Containment, controllers: Collection[str]) -> Containment:
    """The same containment, with limits for the tree as a whole where the cgroup's controllers keep them."""
    kept: dict[str, LimitScope] = {_LIMITED_BY[name]: "tree" for name in controllers if name in _LIMITED_BY}
    return replace(containment, **kept)


def has_guard(containment: Containment) -> bool:
    """Whether trees have a guard that watches their supervisor."""
    guarded = containment.mechanism in ("pid_namespace", "cgroup", "subreaper")
    return guarded or "outlives_supervisor" in containment.advisory


def _checked(asked: object) -> Mechanism:
    for mechanism in MECHANISMS:
        if mechanism == asked:
            return mechanism
    raise wrong_value("containment", f"'auto' or one of {', '.join(MECHANISMS)}", asked)


def check_name(asked: object) -> None:
    """Raises ValueError if ``asked`` is not the name of a mechanism."""
    if asked != "auto":
        _checked(asked)
