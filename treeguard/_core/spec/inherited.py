"""What a child does not inherit of the environment. Loaded when there is something of that kind."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

__all__ = ["inherited"]

#: By these a service manager listens to this process alone: sd_notify(3), sd_watchdog_enabled(3).
_SUPERVISORS_OWN = (b"NOTIFY_SOCKET", b"WATCHDOG_PID", b"WATCHDOG_USEC")


def inherited(env: Mapping[bytes, bytes], without: Iterable[str]) -> dict[bytes, bytes]:
    """The environment without what is the supervisor's own, and without these names."""
    unwanted = {*_SUPERVISORS_OWN, *map(os.fsencode, without)}
    return {name: value for name, value in env.items() if name not in unwanted}
