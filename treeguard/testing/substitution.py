"""Scripts for code that cannot be given a manager: it has none, or makes one itself."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref
from collections.abc import Iterator
from typing import Any

from .._blocking.manager import BlockingManager
from .._blocking.manager import replace_managers as replace_blocking_managers
from .._blocking.searching import PumpedSearch
from .._blocking.system import Pump
from .._core.containment.search import Search
from ..aio.loops import replace_managers as replace_managers_of_loops
from ..local import LocalProcessManager
from ..types import ContainmentName
from ._system import ScriptedSystem
from .manager import ScriptedManager
from .scripts import Script, Scripts

__all__ = ["scripted"]


class _LoopManager(ScriptedManager):
    """It is nobody's to close but the block's."""

    def end(self) -> None:
        """Ends every tree at once, without the loop."""
        running = self._running
        self._closed = True
        if running is not None and not running.left and running.owned:
            for record in list(self._trees):
                running.kill_if_possible(record)
            # Nothing here takes time, so that how the trees ended is known by now.
            running.process_events()
            running.abandon()

    def __del__(self) -> None:
        self.end()


class _PumpedSystem(ScriptedSystem):
    """A system for a manager that has a pump in the place of a loop."""

    def __init__(self, scripts: Scripts, pump: Pump) -> None:
        super().__init__(scripts)
        self._pump = pump

    def search(self) -> Search:
        """See :meth:`System.search`."""
        return PumpedSearch(self._pump)


class _Managers:
    """The scripted managers of a block: one for each loop, and one for what runs without a loop."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts
        self._of_loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _LoopManager] = weakref.WeakKeyDictionary()
        self._blocking: dict[ContainmentName, BlockingManager] = {}
        self._lock = threading.RLock()

    def of_loop(self, loop: asyncio.AbstractEventLoop) -> LocalProcessManager:
        with self._lock:
            manager = self._of_loops.get(loop)
            if manager is None:
                manager = self._of_loops[loop] = _LoopManager(scripts=self._scripts)
            return manager

    def blocking(self, containment: ContainmentName) -> BlockingManager:
        with self._lock:
            manager = self._blocking.get(containment)
            if manager is None:
                manager = BlockingManager(containment, lambda pump: _PumpedSystem(self._scripts, pump))
                self._blocking[containment] = manager
            return manager

    def end(self) -> None:
        for each in self._blocking.values():
            each.close()
        for manager in list(self._of_loops.values()):
            manager.end()


def _set_host(host: Any) -> None:
    """What a manager that is made from now on asks of the system."""
    setattr(LocalProcessManager, "_host", host)  # noqa: B010 - the old value is no function but what holds it


@contextlib.contextmanager
def scripted(*, scripts: Scripts | None = None, unknown: Script | None = None) -> Iterator[Scripts]:
    r"""Lets everything that treeguard starts play scripts, for the length of a block.

    That is :func:`treeguard.run` and all of :mod:`treeguard.subprocess`, :func:`treeguard.arun`,
    :func:`treeguard.open_tree`, :func:`treeguard.create_subprocess_exec` and
    :func:`treeguard.create_subprocess_shell`, in every thread, and each :class:`~treeguard.LocalProcessManager` that is
    made in the block::

        with scripted() as scripts:
            scripts.script(["git", "rev-parse"], stdout="4f2a\n")
            assert treeguard.run(["git", "rev-parse", "HEAD"], capture_output=True).stdout == b"4f2a\n"
            assert scripts.commands == (("git", "rev-parse", "HEAD"),)

    It yields ``scripts``, or new :class:`Scripts` with the default ``unknown``. Leaving the block ends what is left of
    the trees. A shell is a program as any other: its command is ``("/bin/sh", "-c", …)``. In the record, the parameters
    of a child with pipes have the descriptors that it got in the place of ``"pipe"``. Delays are real in the functions
    that need no event loop; the others keep to the loop's clock, so that :func:`virtual_time` applies.

    As a fixture of pytest: ``@pytest.fixture def scripts(): with scripted() as scripts: yield scripts``.
    """
    scripts = scripts or Scripts(unknown=unknown)
    managers = _Managers(scripts)
    with contextlib.ExitStack() as stack:
        stack.callback(managers.end)
        stack.callback(_set_host, vars(LocalProcessManager)["_host"])
        _set_host(staticmethod(lambda: ScriptedSystem(scripts)))
        stack.callback(replace_blocking_managers, replace_blocking_managers(managers.blocking))
        stack.callback(replace_managers_of_loops, replace_managers_of_loops(managers.of_loop))
        yield scripts
