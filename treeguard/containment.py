"""What keeps a tree together on this host, and which guarantees come with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import msgspec

from .errors import ContainmentUnavailable

__all__ = ["MECHANISMS", "Containment", "Mechanism", "choose"]

Mechanism = Literal["cgroup", "subreaper", "process_group", "job_object"]

#: Strongest first: the order in which ``"auto"`` tries them.
MECHANISMS: tuple[Mechanism, ...] = get_args(Mechanism)


class Containment(msgspec.Struct, frozen=True):
    """A mechanism, and one boolean a guarantee.

    * ``contains_escapees``: ends descendants that made a session of their own, or lost their parent.
    * ``proves_empty``: *empty* is known exactly, not guessed from the root or its group.
    * ``reaps_orphans``: no descendant is left a zombie, with or without an init.
    * ``atomic_kill``: the whole tree is killed in one step of the kernel.
    * ``outlives_supervisor``: the tree ends when the supervisor gets SIGKILL - all of it, not the root alone.
    * ``outlives_guard``: the tree ends when the guard itself gets SIGKILL - all of it, not the root and its group
      alone.
    """

    mechanism: Mechanism
    contains_escapees: bool
    proves_empty: bool
    reaps_orphans: bool
    atomic_kill: bool
    outlives_supervisor: bool
    outlives_guard: bool


_GUARANTEES: dict[Mechanism, Containment] = {
    "cgroup": Containment(
        "cgroup",
        contains_escapees=True,
        proves_empty=True,
        reaps_orphans=True,
        atomic_kill=True,
        outlives_supervisor=True,
        outlives_guard=True,
    ),
    "subreaper": Containment(
        "subreaper",
        contains_escapees=True,
        proves_empty=True,
        reaps_orphans=True,
        atomic_kill=False,
        outlives_supervisor=True,
        outlives_guard=False,
    ),
    "process_group": Containment(
        "process_group",
        contains_escapees=False,
        proves_empty=False,
        reaps_orphans=False,
        atomic_kill=True,
        outlives_supervisor=False,
        outlives_guard=True,
    ),
}


def choose(asked: str, try_out: Callable[[Mechanism], str | None]) -> Containment:
    """The containment for what was asked, found by trying.

    ``try_out`` returns None where a mechanism works, else the reason why it doesn't. Raises
    :class:`ContainmentUnavailable` with that reason if it was asked for by name; ``"auto"`` takes the first that works.
    """
    if asked != "auto":
        mechanism = _checked(asked)
        reason = try_out(mechanism)
        if reason is not None:
            raise ContainmentUnavailable(f"containment {asked!r} is not available here: {reason}")
        return _GUARANTEES[mechanism]
    reasons = []
    for mechanism in MECHANISMS:
        reason = try_out(mechanism)
        if reason is None:
            return _GUARANTEES[mechanism]
        reasons.append(f"{mechanism}: {reason}")
    raise ContainmentUnavailable("no containment is available here: " + "; ".join(reasons))


def _checked(asked: str) -> Mechanism:
    for mechanism in MECHANISMS:
        if mechanism == asked:
            return mechanism
    raise ValueError(f"containment must be 'auto' or one of {', '.join(MECHANISMS)}, not {asked!r}")


def check_name(asked: str) -> None:
    """Raises ValueError if ``asked`` names no mechanism."""
    if asked != "auto":
        _checked(asked)
