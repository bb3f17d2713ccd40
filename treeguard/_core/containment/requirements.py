"""The guarantees that a caller requires of a containment."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from ...errors import ContainmentUnavailable
from ...types import GuaranteeName
from ..validation import wrong_type, wrong_value
from .guarantees import GUARANTEES, Choice

__all__ = ["check_guarantees", "check_required"]


def check_required(required: Collection[GuaranteeName], choice: Choice) -> None:
    """Raises :class:`ContainmentUnavailable` if the chosen containment lacks a required guarantee."""
    containment = choice.containment
    missing = [name for name in required if not getattr(containment, name)]
    if missing:
        reasons = f" ({'; '.join(choice.passed_over)})" if choice.passed_over else ""
        raise ContainmentUnavailable(
            f"containment {containment.mechanism!r} does not give {' and '.join(missing)}, as required{reasons}"
        )


def check_guarantees(names: object) -> None:
    """Raises ValueError for a name that is not a guarantee."""
    accepted = f"a collection of {', '.join(GUARANTEES)}"
    if not isinstance(names, Iterable):
        raise wrong_type("require", accepted, names)
    if isinstance(names, str) or [name for name in names if name not in GUARANTEES]:
        raise wrong_value("require", accepted, names)
