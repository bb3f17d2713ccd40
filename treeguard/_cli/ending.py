"""Ending the tree of a command: who is asked by which signal, how long is waited, and when the rest is killed.

The time belongs to the tree, not to its root: a root may be a shell, xargs or make, which ends at once, and the server
beside it needs the time.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from .._core.inspection.asking import Asker, reads_pipe
from .._core.inspection.members import Members
from .._core.processes.system import ProcessInfo
from .._core.waiting import aside
from ..local import LocalProcessManager
from ..types import ProcessId
from .outcome import Asked
from .patience import Patience

__all__ = ["ENDING", "Ending"]

#: The signals that ask for an end.
ENDING = frozenset({signal.SIGHUP, signal.SIGINT, signal.SIGTERM})
#: A second one of these during the grace ends the tree now.
_URGENT = (signal.SIGINT, signal.SIGTERM)
#: Seconds within which a second signal may be the first one's echo.
_ECHO = 1.0
#: Seconds after the root's end in which the tree is usually known to be empty, so that nobody need be looked for.
_SETTLE = 0.01

Happening = Callable[[], Awaitable[None]]


class Ending:
    """Ends one tree.

    ``after`` is called with a number of seconds, and with what is to happen then; ``killed`` when the tree is killed;
    ``release`` to let go of what is left. It returns False if nothing is.
    """

    def __init__(
        self,
        manager: LocalProcessManager,
        patience: Patience,
        after: Callable[[float, Happening], None],
        killed: Callable[[], None],
        release: Callable[[], Awaitable[bool]],
        *,
        terminal: bool,
    ) -> None:
        self._manager = manager
        self._terminal = terminal
        self._patience = patience
        self._after = after
        self._when_killed = killed
        self._let_go = release
        self._heard: dict[int, float] = {}
        self._asker: Asker | None = None
        self._polite = self._killed = self._root_ended = self._hung_up = self._releases = False
        #: Why the tree was asked to end, and whether nobody has to be waited for any more.
        self.asked: Asked | None = None
        self.over = False

    def begin(self, pid: ProcessId, group: int) -> None:
        """The tree is there."""
        self._pid = pid
        self._group = group
        self.members: Members | None = None
        inspection = self._manager._inspection(self._manager._living(pid))
        if inspection is not None:
            self.members = inspection.members
            self._asker = Asker(self.members, self._patience.signal)

    @property
    def forced(self) -> bool:
        """Whether something of the tree was asked to end, and may have died of it."""
        return self.asked is not None or (self._asker is not None and self._asker.has_asked)

    async def ask(self, number: int, why: Asked = "request") -> None:
        """A signal came that asks for an end, or as if one had come.

        The root's group gets it; SIGTERM is replaced by the signal that was chosen. Members that have left the group
        get the chosen signal: what a daemon makes of SIGHUP or SIGINT is something else.
        """
        if self._root_ended and not self.asked:
            # The command has ended already, and what is left has been asked.
            self.over = True
        elif number == signal.SIGHUP and not self._terminal and not self.asked:
            # No terminal was hung up. Daemons read their files again, so whether this is the end is the root's to say.
            self._hung_up = True
            with contextlib.suppress(PermissionError):
                await self._manager.signal_tree(self._pid, number)
        elif self._is_urgent(number):
            await self._kill()
        else:
            await self._ask(self._patience.signal if number == signal.SIGTERM else number, why)

    async def time_out(self) -> None:
        """The command's time is over."""
        if self._releases:
            await self._release()
            return
        if self._root_ended:
            self.over = True
            return
        # Whatever comes now is not the first request.
        self._heard = dict.fromkeys(_URGENT, -math.inf)
        await self._ask(self._patience.signal, "timeout")

    async def root_ended(self, number: int | None) -> None:
        """The root has ended, of signal ``number`` if it is one, and the tree is not empty yet."""
        self._root_ended = True
        if self._hung_up and number == signal.SIGHUP and not self.asked:
            self.asked = "request"
            self._after(self._patience.grace, self._kill)
        self._releases = self._patience.release and number is None and not self.asked
        if self._releases:
            self._after(max(self._patience.linger, _SETTLE), self._release)
        elif self._killed or not (self.asked or self._patience.linger):
            self.over = True
        elif not self.asked:
            self._after(_SETTLE, self._linger)
        elif not self._polite:
            # Shells let background commands ignore SIGINT, so of those that are left nobody may have been asked.
            await self._ask_rest()

    async def _ask(self, number: int, why: Asked) -> None:
        first = self.asked is None
        # A timeout is one even if the tree was asked before.
        self.asked = why if first or why == "timeout" else self.asked
        self._polite |= number == self._patience.signal
        # A command that has changed its user may refuse the signal, which is only a request.
        with contextlib.suppress(PermissionError):
            await self._manager.ask_tree(self._pid, number, "group")
        await self._ask_members(lambda seen: seen.group != self._group)
        if first:
            self._after(self._patience.grace, self._kill)

    def _is_urgent(self, number: int) -> bool:
        now = asyncio.get_running_loop().time()
        first = self._heard.setdefault(number, now) if number in _URGENT else now
        return first < now and not (now - first < _ECHO and _is_echoed(number))

    async def _linger(self) -> None:
        """Asks what is left. A filter first has the time to read what is left of its input, and ends by itself."""
        linger = self._patience.linger
        self._after(linger, self._finish)
        self._after(linger / 2, self._ask_rest)
        await self._ask_members(lambda seen: not reads_pipe(seen.pid))

    async def _release(self) -> None:
        self.over |= await self._let_go()

    async def _finish(self) -> None:
        self.over = True

    async def _ask_rest(self) -> None:
        """Asks all members that were not asked; where none can be seen, those that are in the root's group."""
        await self._ask_members(lambda seen: True)
        if not (self._killed or (self._asker is not None and self._asker.has_asked)):
            with contextlib.suppress(OSError):
                await self._manager.ask_tree(self._pid, self._patience.signal, "group")

    async def _ask_members(self, wanted: Callable[[ProcessInfo], bool]) -> None:
        if self._asker is not None and not self._killed:
            # Nothing can be seen, or there is no thread to look. The time to end runs nevertheless.
            with contextlib.suppress(OSError, RuntimeError):
                await aside(partial(self._asker.ask, wanted))

    async def _kill(self) -> None:
        self._killed = True
        self._when_killed()
        await self._manager.kill_tree(self._pid)
        self.over = self._root_ended


def _is_echoed(number: int) -> bool:
    """Whether our parent sends a signal to us and then, while it ignores it itself, to its group, which is ours too.

    GNU timeout does. Its second signal says nothing that the first has not said.
    """
    parent = os.getppid()
    try:
        text = Path(f"/proc/{parent}/status").read_text("utf-8")
        ignored = int(text.partition("\nSigIgn:\t")[2].split(maxsplit=1)[0], 16)
        return bool(ignored >> (number - 1) & 1) and os.getpgid(parent) == os.getpgrp()
    except (OSError, ValueError, IndexError):
        return False
