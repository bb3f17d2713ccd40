"""An exception at every line of a manager's life, as a signal's handler or a shortage of memory raises it.

To be run apart (:mod:`tests.support.apart`): a trace function raises at the n-th line of the asyncio layer that is
about to be run, or call of a function of it, for every n.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import gc
import itertools
import linecache
import logging
import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

import treeguard
from treeguard import ChildHandle, LocalProcessManager, ProcessEnded, SpawnParams
from treeguard._core.waiting import Finish
from treeguard.errors import NotOwner
from treeguard.types import Mechanism

from .belongings import belongings
from .judge import children
from .patience import PATIENCE

__all__ = ["ERRORS", "EXCLUDED", "LAYER", "SCENARIOS", "Raiser", "every_line_raises"]

#: Seconds. A life takes milliseconds, so one that takes longer waits for an event that never comes.
_TOO_LONG = PATIENCE
_PACKAGE = Path(treeguard.__file__).parent
#: Where exceptions are raised.
LAYER = (
    *("ext.py", "local.py"),
    *(
        f"_core/{name}.py"
        for name in ("delivery", "forks", "native", "recovery", "running", "standby", "waiting", "worker")
    ),
    *("_core/containment/backends.py", "_core/containment/host.py"),
    *("_core/engine/engine.py", "_core/engine/lease.py", "_core/engine/watch.py"),
    *("_core/telemetry/instrumentation.py", "_core/trees/ids.py", "_core/trees/record.py", "_core/trees/registry.py"),
)


class Interrupt(KeyboardInterrupt):
    """Ctrl-C, whose default handler raises in the main thread."""


class Shortage(MemoryError):
    """No memory."""


class Odd(RuntimeError):
    """Such as that no thread can be started."""


ERRORS: dict[str, type[BaseException]] = {"interrupt": Interrupt, "shortage": Shortage, "odd": Odd}


#: An exception here comes before the manager was entered, or before leaving it was begun. Its trees are ended when it
#: is collected, or left again.
_DOORS = re.compile(
    r"^(_enter|__aenter__|__aexit__|close|containment|_leave): .*\(local.py|^(owned|loop): .*\(_core/engine/engine.py"
    r"|^owned: .*\(_core/native.py|^__call__: .*\(_core/waiting.py"
    r"|^(__init__|enter|may_leave|owned): .*\(_core/running.py"
)


class Outcome(NamedTuple):
    """Where an exception was raised, and what was left, or lost."""

    where: str
    left: list[str]
    #: The manager was not left, so that it had to be collected.
    dropped: bool

    @property
    def fault(self) -> str:
        """What is wrong with it, empty if nothing is."""
        if self.left:
            return f"{self.where}: {self.left}"
        return f"{self.where}: not left" if self.dropped and not _DOORS.search(self.where) else ""


class Raiser:
    """Raises at the n-th line or call."""

    def __init__(self, at: int, error: type[BaseException], layer: Iterable[str] = LAYER) -> None:
        self._at = at
        self._error = error
        self._count = 0
        self.where = ""
        self._files = {str(_PACKAGE / name): name for name in layer}

    def calls(self, frame: FrameType, event: str, argument: object) -> Any:
        """The trace function."""
        name = self._files.get(frame.f_code.co_filename)
        if name is None or self.where:
            return None
        # One that goes on is no call: the exception would not be seen by its handlers, as one of a signal is.
        if not _goes_on(frame):
            self._pass(frame, name, "call")
        return self._lines

    def _lines(self, frame: FrameType, event: str, argument: object) -> Any:
        if event == "line" and not self.where:
            line = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
            self._pass(frame, self._files[frame.f_code.co_filename], line)
        return self._lines

    def _pass(self, frame: FrameType, name: str, what: str) -> None:
        function = _function(frame.f_code)
        if (function, what) in EXCLUDED:
            return
        self._count += 1
        if self._count == self._at:
            self.where = f"{function}: {what} ({name}:{frame.f_lineno})"
            raise self._error

    @contextlib.contextmanager
    def armed(self) -> Iterator[None]:
        """Raises in here, once."""
        _raising.append(self)
        threading.settrace(_trace)
        sys.settrace(_trace)
        try:
            yield
        finally:
            sys.settrace(None)
            threading.settrace(None)
            _raising.remove(self)


_raising: list[Raiser] = []


def _trace(frame: FrameType, event: str, argument: object) -> Any:
    # One function for all: CPython 3.11 may still call one that raised when that has been freed.
    return _raising[-1].calls(frame, event, argument) if _raising else None


_GENERATORS = 0x20 | 0x80 | 0x200  # CO_GENERATOR, CO_COROUTINE, CO_ASYNC_GENERATOR


def _goes_on(frame: FrameType) -> bool:
    return bool(frame.f_code.co_flags & _GENERATORS) and frame.f_lineno != frame.f_code.co_firstlineno


def _function(code: CodeType) -> str:
    return code.co_name


_THREAD = "a thread's own: signals' handlers run in the main one. One that has no memory to begin with serves nobody"
#: Where no exception is raised, by function and line, and why.
EXCLUDED: dict[tuple[str, str], str] = {
    ("_serve", "call"): _THREAD,
    ("_serve", "asked: tuple[Callable[[], Any], Future[Any]] | None = None"): _THREAD,
    ("_serve", "while True:"): _THREAD,
    ("_serve", "try:"): _THREAD,
    ("_serve", "return"): _THREAD,
}


# Lives.


async def _kill(manager: LocalProcessManager, program: str) -> None:
    """A tree that somebody waits for, and that is killed."""
    child = await manager.spawn_child(SpawnParams(program))
    async with _waiting(manager, child):
        await manager.kill_tree(child.pid)
        await manager.wait_for_exit(child.pid)


async def _leave(manager: LocalProcessManager, program: str) -> None:
    """Two trees, of which one belongs to the other, that are ended by leaving."""
    parent = await manager.spawn_child(SpawnParams(program))
    child = await manager.spawn_child(SpawnParams(program, parent=parent.pid))
    async with _waiting(manager, parent), _waiting(manager, child):
        await asyncio.sleep(0)
        await manager.close()


async def _notified(manager: LocalProcessManager, program: str) -> None:
    """A tree that is given a control connection and a notification socket."""
    child = await manager.spawn_child(SpawnParams(program, control=True, notify=True))
    await manager.kill_tree(child.pid)
    await manager.wait_for_root(child.pid)


async def _fail(manager: LocalProcessManager, program: str) -> None:
    """A spawn that fails."""
    with contextlib.suppress(FileNotFoundError):
        await manager.spawn_child(SpawnParams("/nonexistent/program", notify=True))


async def _cancel(manager: LocalProcessManager, program: str) -> None:
    """A spawn that is cancelled."""
    task = asyncio.ensure_future(manager.spawn_child(SpawnParams(program, notify=True)))
    await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def _lose(manager: LocalProcessManager, program: str) -> None:
    """A tree whose guard is killed."""
    child = await manager.spawn_child(SpawnParams(program))
    leader_pid = next(seen.pid for seen in children().values() if child.os_pid in (seen.pid, *children(seen.pid)))
    os.kill(leader_pid, signal.SIGKILL)
    with contextlib.suppress(treeguard.GuardLost):
        await manager.wait_for_exit(child.pid)


SCENARIOS: dict[str, Callable[[LocalProcessManager, str], Coroutine[Any, Any, None]]] = {
    "kill": _kill,
    "leave": _leave,
    "notified": _notified,
    "fail": _fail,
    "cancel": _cancel,
    "lose": _lose,
}


@contextlib.asynccontextmanager
async def _waiting(manager: LocalProcessManager, child: ChildHandle) -> Any:
    """A caller waits without a timeout meanwhile, and must be woken."""
    task = asyncio.ensure_future(manager.wait_for_exit(child.pid))
    try:
        yield
        await task
    finally:
        task.cancel()
        await asyncio.wait({task})


def _live(work: Callable[[], Awaitable[None]], raiser: Raiser) -> list[str]:
    """One life on a loop of its own. Returns what was reported to the loop, apart from the raised exception."""
    strange: list[str] = []
    loops: list[asyncio.AbstractEventLoop] = []

    def handle(_: object, context: dict[str, Any]) -> None:
        # A manager that is dropped when its loop has been closed was in the middle of something.
        middle = loops[0].is_closed() and "Task was destroyed" in context["message"]
        if not middle and not isinstance(context.get("exception"), tuple(ERRORS.values())):
            strange.append(f"unhandled: {context}")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loops.append(loop)
        loop.set_exception_handler(handle)
        with raiser.armed():
            loop.call_later(_TOO_LONG, hang, asyncio.current_task())
            await work()

    def hang(task: asyncio.Task[Any] | None) -> None:
        assert task is not None
        strange.append("somebody waits, and never hears")
        task.cancel()

    # What a caller is raised of it is one thing; others follow from that, such as that a manager is closed.
    with contextlib.suppress(*ERRORS.values(), asyncio.CancelledError, NotOwner, ProcessEnded):
        asyncio.run(main())
    return strange


def _attempt(containment: Mechanism, scenario: str, program: str, raiser: Raiser) -> Outcome:
    lease = None if containment == "process_group" else 60.0

    async def work() -> None:
        async with LocalProcessManager(containment=containment, lease=lease) as manager:
            await SCENARIOS[scenario](manager, program)

    before = belongings()
    faulthandler.dump_traceback_later(3 * PATIENCE, exit=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        strange = _live(work, raiser)
        if sorted(belongings() - before):
            gc.collect()
    faulthandler.cancel_dump_traceback_later()
    dropped = any("unclosed <treeguard.local" in str(each.message) for each in caught)
    return Outcome(raiser.where, sorted(belongings() - before) + strange, dropped)


def every_line_raises(
    containment: Mechanism, scenario: str, error: str, program: str, first: int, step: int, broken: bool
) -> tuple[int, list[str]]:
    """Raises at every ``step``-th line or call, from the first on. In how many lives, and what was wrong with those.

    ``broken``: with leaving that is not begun again where it was interrupted.
    """
    outcomes: list[Outcome] = []
    if broken:
        Finish.__call__ = _once  # type: ignore[method-assign, assignment]
    # Exceptions that the interpreter ignores must not be printed on standard error.
    sys.unraisablehook = lambda _: None

    logging.disable()
    # What is loaded, tried and found once is not of a life.
    _attempt(containment, scenario, program, Raiser(0, Odd))
    for at in itertools.count(first, step):
        outcome = _attempt(containment, scenario, program, Raiser(at, ERRORS[error]))
        if not outcome.where:
            break
        outcomes.append(outcome)
    return len(outcomes), [outcome.fault for outcome in outcomes if outcome.fault]


async def _once(_: Finish[Any], work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    return await work()
