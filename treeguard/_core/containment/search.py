"""Ending trees without their guards, beside the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from ..telemetry.log import report
from ..waiting import start_unlisted
from ..worker import Worker
from .proc_scanner import ProcScanner, SearchTarget

__all__ = ["Search"]

#: How soon and how rarely, in seconds, all processes are looked at again.
_FIRST_PAUSE = 0.01
_LAST_PAUSE = 0.5
#: After so many looks it is a process that cannot be killed which is waited for.
_MANY_LOOKS = 50
#: How soon, in seconds, a search goes on that was interrupted.
_RETRY = 0.1


class Search:
    """Kills what is found of trees whose guards are gone, or don't do their work, look by look, until nothing is.

    A look is at all processes of the host: among thousands it takes longer than a loop, or a lease, may wait. So a
    thread looks, where one can be had, and once for all trees.
    """

    def __init__(self) -> None:
        self._worker = Worker("treeguard-searcher")
        self._lookout = ProcScanner()
        self._sought: dict[SearchTarget, Callable[[bool], None]] = {}
        self._task: asyncio.Task[None] | None = None

    def begin(self, one: SearchTarget, over: Callable[[bool], None]) -> None:
        """Begins with one tree. ``over`` is called when it is ended; with whether that is proved."""
        self._sought[one] = over
        self.go_on()

    def go_on(self) -> None:
        """Goes on where an exception has interrupted it, if there is anything to search for."""
        if self._sought and (self._task is None or self._task.done()):
            # Not to be cancelled with the loop's tasks: waiting callers would never hear of their trees.
            self._task = start_unlisted(self._go_on())
            self._task.add_done_callback(self._stopped)

    def _stopped(self, task: asyncio.Task[None]) -> None:
        """An error has ended the searching: it is told where the loop's errors are, and the search goes on."""
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception):
            report("a search for what a lost guard has left was interrupted", error)
        if self._task is task and self._sought:
            task.get_loop().call_later(_RETRY, self.go_on)

    def end(self, one: SearchTarget) -> None:
        """Looks for a tree no longer: its guard has done its work after all."""
        self._sought.pop(one, None)

    def forget(self) -> None:
        """The loop has ended that it was going on."""
        self._sought.clear()
        self._task = None

    async def _go_on(self) -> None:
        looks = 0
        while every := list(self._sought):
            again = set(await self.look(every))
            for one in every:
                over = self._sought.get(one) if one not in again else None
                if over is not None:
                    # Told before it is forgotten: an exception may come in between.
                    over(one.proved)
                    self._sought.pop(one, None)
            looks += 1
            if not self._sought:
                break
            await asyncio.sleep(_FIRST_PAUSE if looks < _MANY_LOOKS else _LAST_PAUSE)

    async def look(self, every: Sequence[SearchTarget]) -> list[SearchTarget]:
        """One look for all of them. Those for which to look again."""
        if self._worker.begin():
            return await self._worker.run(lambda: self._lookout.look(every))
        return self._lookout.look(every)

    def look_now(self, one: SearchTarget) -> bool:
        """One look for one of them, without a loop. Whether it is proved that nothing is left."""
        return not self._lookout.look([one]) and one.proved

    def close(self) -> None:
        """Searches no more, and lets go of the thread. Again is no error."""
        self._sought.clear()
        if self._task is not None and not self._task.get_loop().is_closed():
            self._task.cancel()
        self._worker.close()
