"""Ending trees without their guards, beside the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from ..telemetry.log import report
from ..waiting import start_unlisted
from ..worker import Worker
from .proc_scanner import ProcScanner, SearchTarget

__all__ = ["Search"]

#: The pause between looks at all processes, in seconds: at first, and later.
_FIRST_PAUSE = 0.01
_LAST_PAUSE = 0.5
#: After this many looks the search is waiting for a process that cannot be killed, and looks less often.
_MANY_LOOKS = 50
#: The pause before an interrupted search goes on, in seconds.
_RETRY = 0.1


class Search:
    """Kills what it finds of trees whose guards are gone or do not do their work, look by look, until nothing is left.

    A look covers all processes of the host. Among thousands of them it takes longer than a loop or a lease may wait. So
    a thread looks, if one is available, once for all trees.
    """

    def __init__(self) -> None:
        self._worker = Worker("treeguard-searcher")
        self._scanner = ProcScanner()
        self._sought: dict[SearchTarget, Callable[[bool], None]] = {}
        self._task: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether there is anything left to search for."""
        return bool(self._sought)

    def begin(self, one: SearchTarget, over: Callable[[bool], None]) -> None:
        """Begins with one tree. Calls ``over`` when the tree is ended, with whether that is proved."""
        self._sought[one] = over
        self.go_on()

    def go_on(self) -> None:
        """Goes on after an exception has interrupted the search, if there is anything left to search for."""
        if self._sought and (self._task is None or self._task.done()):
            # It must not be cancelled with the loop's tasks: waiting callers would never hear of their trees.
            self._task = start_unlisted(self._go_on())
            self._task.add_done_callback(self._stopped)

    def _stopped(self, task: asyncio.Task[None]) -> None:
        """Reports an error that has ended the search where the loop's errors go, and goes on with the search."""
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception):
            report("a search for what a lost guard has left was interrupted", error)
        if self._task is task and self._sought:
            task.get_loop().call_later(_RETRY, self.go_on)

    def end(self, one: SearchTarget) -> None:
        """Stops looking for a tree, because its guard has done its work after all."""
        self._sought.pop(one, None)

    def forget(self) -> None:
        """Forgets everything, because the loop that the search ran on has ended."""
        self._sought.clear()
        self._task = None

    async def _go_on(self) -> None:
        looks = 0
        while every := list(self._sought):
            again = set(await self.look(every))
            for one in every:
                over = self._sought.get(one) if one not in again else None
                if over is not None:
                    # Report it before forgetting it: an exception may come in between.
                    over(one.proved)
                    self._sought.pop(one, None)
            looks += 1
            if not self._sought:
                break
            await asyncio.sleep(_FIRST_PAUSE if looks < _MANY_LOOKS else _LAST_PAUSE)

    async def look(self, every: Sequence[SearchTarget]) -> list[SearchTarget]:
        """Takes one look for all targets. Returns those that need another look."""
        if self._worker.begin():
            return await self._worker.run(lambda: self._scanner.look(every))
        return self._scanner.look(every)

    def look_now(self, one: SearchTarget) -> bool:
        """Takes one look for one target, without a loop. Returns whether it is proved that nothing is left."""
        return not self._scanner.look([one]) and one.proved

    def close(self) -> None:
        """Stops the search and releases the thread. Calling it again has no effect."""
        self._sought.clear()
        if self._task is not None and not self._task.get_loop().is_closed():
            self._task.cancel()
        self._worker.close()
