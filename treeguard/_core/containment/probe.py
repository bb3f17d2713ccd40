"""Finding out by doing whether this host lets trees be ended."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from .. import native as _native
from ..native import CoreError, Event, NativeEngine, NativeTree, Spec
from .executable import is_whole

__all__ = ["probe_tree"]

#: A trial takes a millisecond or two, on an emulated or overloaded host a thousand times that. One that is not over by
#: then has failed; in seconds. Less patience would take a slow host for a weak one. The orphan stays longer (trial.c).
_PATIENCE = 10.0
#: How long, in seconds, the end of a tree is waited for whose trial has failed.
_LEAVE_PATIENCE = 1.0
_PAUSE_MS = 5
_OVER = (_native.EMPTY, _native.FAILED, _native.LOST)
_DAMAGED = ("guard", errno.ENOEXEC)
#: ``struct tg_trial_answer``: its process id, 0 when it leaves by itself; and its parent's.
_ANSWER = struct.Struct("=ii")


def _order(tree: NativeTree) -> bool:
    tree.kill()
    return True


def probe_tree(cgroup: int = -1, tag: int = 0, *, kill: Callable[[NativeTree], bool] = _order) -> None:
    """Starts a tree whose root leaves an orphan in a session of its own behind, and ends it.

    The orphan says whose child it is when the root has ended: that must be the guard. It stays until it is killed, and
    leaves a word when it ends in any other way. When the tree is told empty it must be gone without that word, and have
    been reaped.

    ``kill`` ends the tree; it is called until it says True. Raises :class:`~treeguard._core.native.CoreError`, or
    OSError with what was not as it should be. Waits as long as that takes: milliseconds.
    """
    _check_guard()
    engine = NativeEngine()
    try:
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                tree = _started(engine, theirs.fileno(), cgroup, tag)
            trial = _Probe(engine, tree, ours)
            try:
                trial.run(kill)
            finally:
                ours.close()
                trial.let_go()
    finally:
        engine.close()


def _check_guard() -> None:
    """A guard that lacks its end may pass the trial, and fail in what that does not try."""
    with contextlib.suppress(OSError):  # why it cannot be opened is told better by its exec
        if not is_whole(Path(_native.GUARD)):
            raise CoreError(*_DAMAGED)


def _started(engine: NativeEngine, conversation: int, cgroup: int, tag: int) -> NativeTree:
    guard = os.fsencode(_native.GUARD)
    spec = Spec(guard, guard + b"\0trial\0", 2, b"", 0, None, (conversation,) * 3, (), 0, -1)
    return engine.spawn(spec, tag, guard=_native.GUARD, cgroup=cgroup)


class _Probe:
    """A tree on trial. ``ours`` is what its orphan listens to: it leaves when that is closed."""

    def __init__(self, engine: NativeEngine, tree: NativeTree, ours: socket.socket) -> None:
        self._engine = engine
        self._tree = tree
        self._ours = ours
        self._over = self._heard = False

    def run(self, kill: Callable[[NativeTree], bool]) -> None:
        events = self._events(_PATIENCE)
        for event in events:
            _raise_if_over(event, "an orphan did not fall to its guard")
            if event is not None and event.kind == _native.ENDED:
                break
        orphan = self._adopted()
        killed = kill(self._tree)
        for event in events:
            if event is not None and event.kind == _native.EMPTY:
                break
            _raise_if_over(event, "the guard died")
            killed = killed or kill(self._tree)
        self._check_killed(orphan)

    def _adopted(self) -> int:
        """The process id of the orphan, which the guard must have adopted: the root was reaped."""
        self._ours.sendall(b"?")
        ready = select.poll()
        ready.register(self._ours, select.POLLIN)
        if not ready.poll(_PATIENCE * 1000):
            raise TimeoutError(f"an orphan did not answer within {_PATIENCE:g} s")
        orphan, parent = _answer(self._ours)
        if not orphan:
            raise CoreError(*_DAMAGED)
        if parent != self._tree.pid:
            raise OSError(f"an orphan fell to process {parent}, and not to its guard")
        return orphan

    def _check_killed(self, orphan: int) -> None:
        """To be called when the tree was told empty: only SIGKILL keeps an orphan from saying that it leaves."""
        self._ours.setblocking(False)
        # A process that was forked meanwhile may hold the other end, so that there is no end of file.
        with contextlib.suppress(BlockingIOError, ConnectionResetError):
            if self._ours.recv(_ANSWER.size):
                raise OSError("an orphan was not killed, but left by itself")
        with contextlib.suppress(ProcessLookupError):
            os.kill(orphan, 0)
            raise OSError("a tree was told empty while an orphan of it was left")

    def _events(self, patience: float) -> Iterator[Event | None]:
        """What happens, and None now and then. Raises TimeoutError after so many seconds."""
        deadline = time.monotonic() + patience
        ready = select.poll()
        ready.register(self._engine, select.POLLIN)
        while time.monotonic() < deadline:
            # The guard's own end may come a moment after its last word.
            batch = (*self._engine.drain(), self._tree.poll())
            self._heard = self._heard or any(event is not None for event in batch)
            self._over = self._over or any(event is not None and event.kind in _OVER for event in batch)
            yield from batch
            ready.poll(_PAUSE_MS)
        # A guard that runs, and says nothing at all, is none.
        if not self._heard and not self._tree.wake():
            raise CoreError(*_DAMAGED)
        raise TimeoutError(f"a tree was not ended within {patience:g} s")

    def let_go(self) -> None:
        """Waits until a tree is over whose trial has failed, so that nothing is left of its guard, no zombie either."""
        for end in (self._tree.kill, partial(self._tree.dismiss, empty=False)):
            with contextlib.suppress(OSError, CoreError):
                if not self._over:
                    end()
                events = self._events(_LEAVE_PATIENCE)
                while not self._over:
                    next(events)
        self._tree.free()


def _answer(ours: socket.socket) -> tuple[int, int]:
    """What the orphan says of itself: its process id, and its parent's."""
    words = ours.recv(_ANSWER.size)
    orphan, parent = _ANSWER.unpack(words) if len(words) == _ANSWER.size else (0, 0)
    return orphan, parent


def _raise_if_over(event: Event | None, problem: str) -> None:
    if event is None or event.kind not in _OVER:
        return
    if event.kind == _native.FAILED:
        raise CoreError(event.step, event.errno)
    # The root is the guard's program too: one that ends so, or that is gone before anybody has killed it, is not what
    # was built. Named here, since this module is imported on Windows too, which has no SIGBUS.
    if event.signal in (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL):
        raise CoreError(*_DAMAGED)
    if event.code > 0:
        raise CoreError("clone", event.code)
    raise OSError(problem)
