"""Searching for what lost guards have left, without an event loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._core.containment.host import System
from .._core.containment.search import Search

if TYPE_CHECKING:
    from .system import Pump

__all__ = ["PumpedSearch", "PumpedSystem"]

#: The pauses between looks at all processes, in seconds, and how many looks it takes to make the longer one.
_FIRST_PAUSE, _LAST_PAUSE, _MANY_LOOKS = 0.01, 0.5, 50


class PumpedSearch(Search):
    """A search that looks when its pump is run."""

    def __init__(self, pump: Pump) -> None:
        super().__init__()
        self._pump = pump
        self._looks = 0
        self._scheduled = False

    def go_on(self) -> None:
        """See :meth:`Search.go_on`."""
        if self._sought and not self._scheduled:
            self._looks = 0
            self._schedule(0.0)

    def _schedule(self, delay: float) -> None:
        self._pump.call_later(delay, self._look_again)
        self._scheduled = True

    def _look_again(self) -> None:
        self._scheduled = False
        try:
            every = list(self._sought)
            again = set(self._scanner.look(every))
            for one in every:
                over = self._sought.get(one) if one not in again else None
                if over is not None:
                    over(one.proved)
                    self._sought.pop(one, None)
        finally:
            self._looks += 1
            if self._sought and not self._scheduled:
                self._schedule(_FIRST_PAUSE if self._looks < _MANY_LOOKS else _LAST_PAUSE)


class PumpedSystem(System):
    """The system, as a pump's threads look at it."""

    def __init__(self, pump: Pump) -> None:
        self._pump = pump

    def search(self) -> Search:
        """See :meth:`System.search`."""
        return PumpedSearch(self._pump)
