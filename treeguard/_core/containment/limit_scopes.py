"""Which limits a containment keeps, for the tree or for each process."""

from __future__ import annotations

from ...errors import ContainmentUnavailable
from ...limits import Limits
from ...types import LimitScope
from .guarantees import Containment

__all__ = ["check_limits", "kept_for"]


def kept_for(scope: LimitScope | None, limits: Limits | None, containment: Containment) -> Limits | None:
    """The limits that are kept for ``scope``, or that are not kept if it is None. Returns None if there are none."""
    if limits is None:
        return None
    scopes = (containment.memory_limit, containment.process_limit, containment.cpu_limit)
    fields = {name for name, kept in zip(Limits.__struct_fields__, scopes, strict=True) if kept == scope}
    asked = {name: getattr(limits, name) for name in fields}
    return Limits(**asked) if any(value is not None for value in asked.values()) else None


def check_limits(limits: Limits | None, containment: Containment) -> None:
    """Raises :class:`ContainmentUnavailable` for a limit that cannot be kept."""
    missing = kept_for(None, limits, containment)
    if missing is not None:
        names = [name for name in Limits.__struct_fields__ if getattr(missing, name) is not None]
        raise ContainmentUnavailable(
            f"limits: {' and '.join(names)} cannot be limited by containment {containment.mechanism!r} here: "
            "that takes a cgroup with the controllers for it"
        )
