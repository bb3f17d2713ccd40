"""Waiting for a child to tell that it is ready, whether it can tell that or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._core.validation import optional_seconds
from ..errors import ProcessEnded
from ..types import ProcessId

if TYPE_CHECKING:
    from .listener import Notifications

__all__ = ["wait_ready"]


async def wait_ready(
    notifications: Notifications | None, pid: ProcessId, timeout: float | None, *, lives: bool
) -> bool:
    """See :meth:`treeguard.LocalProcessManager.wait_ready`. ``notifications``: None if no child was given any."""
    optional_seconds("timeout", timeout)
    ready = None if notifications is None else await notifications.wait_ready(pid, timeout)
    if ready is not None:
        return ready
    if lives:
        raise ValueError(f"{pid} was not spawned with notify=True")
    raise ProcessEnded(f"{pid} has ended")
