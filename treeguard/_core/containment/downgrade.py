"""Reporting that the chosen mechanism lets escapees go."""

from __future__ import annotations

import os
import warnings

from ...errors import ContainmentWarning
from ..telemetry.log import log_of
from .guarantees import Choice

__all__ = ["say_once"]

#: The processes that have reported it: this one, and those that it was forked from.
_said: set[int] = set()


def say_once(choice: Choice) -> None:
    """Issues a warning and a log record, once per process. Raises each time if warnings are errors."""
    if os.getpid() in _said:
        return
    reasons = "; ".join(choice.passed_over) or "there is no other one on this system"
    words = (
        f"containment {choice.containment.mechanism!r} was taken, which does not end descendants that leave the root's "
        f"process group ({reasons})"
    )
    log_of("containment").warning("%s", words)
    # The calling line is far up the stack, and out of reach in a manager that is entered on an event loop.
    warnings.warn(words, ContainmentWarning, stacklevel=4)
    _said.add(os.getpid())
