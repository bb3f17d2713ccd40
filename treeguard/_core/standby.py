"""Code that a plain life does not need: loaded when it is needed, or after a manager has been in use for some seconds.

An import opens files, and the code that ends a tree without its guard is needed in bad moments. There may be no
descriptor left, the package may have been replaced by another version, or this process may have changed its user or
its root directory. So a manager keeps descriptors for that code, and loads it before it is needed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import weakref
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from .containment.backend import Backend
from .containment.host import System
from .engine.engine import Engine
from .engine.watch import call_weakly
from .forks import call_in_copies
from .native import Descriptor
from .trees.registry import TreeRegistry

if TYPE_CHECKING:
    from .recovery import Recovery

__all__ = ["Standby"]

#: An import opens one file at a time. A look at all processes opens a directory, and in it one file at a time.
_DESCRIPTORS = 0 if sys.platform == "win32" else 2
#: Seconds until the code is loaded, and until descriptors that were given up are kept again.
_SECONDS = 5.0
#: Seconds between two modules.
_STEP = 0.02
#: The code, what is imported by others first.
_MODULES = tuple(
    f"{__package__}.{name}"
    for name in (
        *("processes.process", "processes.system", "cgroup.below", "cgroup.emptying", "worker"),
        *("containment.proc_scanner", "containment.guard_loss", "containment.bypass", "containment.search", "recovery"),
        *("inspection.members", "inspection.survivors"),
    )
)


class Standby:
    """Has the :class:`~treeguard._core.recovery.Recovery` of a manager ready."""

    def __init__(self, trees: TreeRegistry, system: System, used_later: str) -> None:
        """``used_later`` names a module that is loaded besides the recovery."""
        self._trees = trees
        self._system = system
        self._used_later = used_later
        #: The recovery, if it was needed before.
        self.in_use: Recovery | None = None
        self._kept = tuple(Descriptor() for _ in range(_DESCRIPTORS))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        call_in_copies(self._release)
        with contextlib.suppress(OSError):
            self._keep()

    def recovery(self, engine: Engine, backend: Backend) -> Recovery:
        """The recovery, with the kept descriptors left to it. Raises OSError if it cannot be loaded now."""
        self._release()
        self._arm(_SECONDS)
        if self.in_use is None:
            from .recovery import Recovery

            self.in_use = Recovery(self._trees, self._system.search(), engine, backend)
        return self.in_use

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Works on this loop from now on."""
        self._stop()
        self._loop = loop
        self._arm(_SECONDS)

    def close(self) -> None:
        """Ends the recovery, and keeps nothing any more. Calling it again has no effect."""
        self._stop()
        self._loop = None
        self._release()
        if self.in_use is not None:
            self.in_use.close()

    def _arm(self, delay: float) -> None:
        if self._timer is None and self._loop is not None and not self._loop.is_closed():
            # The reference is weak, so that a manager that was dropped without being closed can be collected.
            self._timer = self._loop.call_later(delay, call_weakly, weakref.WeakMethod(self._stand_by))

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _stand_by(self) -> None:
        """Loads one more module, since the loop waits for it, and keeps the descriptors. Tries again later on an error.

        An error is raised when the module is needed.
        """
        self._timer = None
        ahead = [name for name in (*_MODULES, self._used_later) if name not in sys.modules]
        delay = _SECONDS
        with contextlib.suppress(OSError, ImportError):
            if ahead:
                self._release()
                import_module(ahead[0])
                del ahead[0]
                delay = _STEP
            if self.in_use is None or not self.in_use.busy:
                self._keep()
        if ahead or any(each.number < 0 for each in self._kept):
            self._arm(delay)

    def _keep(self) -> None:
        for each in self._kept:
            if each.number < 0:
                each.open(Path(os.devnull), os.O_RDONLY)

    def _release(self) -> None:
        for each in self._kept:
            each.close()
