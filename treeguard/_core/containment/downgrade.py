"""Saying that the choice fell on a mechanism that lets escapees go."""

from __future__ import annotations

import os
import warnings

from ...errors import ContainmentWarning
from ..telemetry.log import log_of
from .guarantees import Choice

__all__ = ["say_once"]

#: The processes, this one and those that it was forked from, that have said it.
_said: set[int] = set()


def say_once(choice: Choice) -> None:
    """A warning and a log record, once a process. Where warnings are errors it raises, each time."""
    if os.getpid() in _said:
        return
    reasons = "; ".join(choice.passed_over) or "there is no other one on this system"
    words = (
        f"containment {choice.containment.mechanism!r} was taken, which does not end descendants that leave the root's "
        f"process group ({reasons})"
    )
    log_of("containment").warning("%s", words)
    # The line that asked is far up, and within a manager that is entered on an event loop.
    warnings.warn(words, ContainmentWarning, stacklevel=4)
    _said.add(os.getpid())
